"""Base class of the management commands: subcommands that print tables for people or JSON for scripts."""

from __future__ import annotations

import datetime as dt
import difflib
import getpass
import json
import os
import re
import shutil
import sys
import unicodedata
import uuid
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn, TypeAlias

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from typing_extensions import override

from backoffice.display.money import microusd_parse
from backoffice.request_ids import request_id

Row: TypeAlias = Mapping[str, object]
Options: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Options], None]

MIN_COLUMN_WIDTH = 5
SEPARATOR = "  "
IDS = frozenset({"id", "key", "prefix", "request", "secret", "slug"})
TIMES = frozenset({"at", "minute"})
_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")


def command_actor() -> str:
    """Return the audit trail's name for the operating-system user who runs the command."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # containers may run under a uid without a name
        return f"cli:{os.getuid()}"


def unknown_name(kind: str, name: str, candidates: Iterable[str], remedy: str) -> CommandError:
    """Return the error for a name that does not exist, with the closest candidate and a remedy."""
    matches = difflib.get_close_matches(name, list(candidates), n=1)
    hint = f" Did you mean {matches[0]}?" if matches else ""
    return CommandError(f"No such {kind}: {printable(name)}.{hint} {remedy}")


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 record`` and ``2 records``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def microusd_argument(text: str) -> int:
    """Parse an argument that is an amount in dollars. Raises ArgumentTypeError."""
    try:
        return microusd_parse(text)
    except ValidationError as error:
        raise ArgumentTypeError(" ".join(error.messages)) from None


def table(rows: Sequence[Row], *, max_width: int | None = None) -> str:
    """Format ``rows`` as a table whose headings are the first row's names; empty without rows.

    Texts in a table wider than ``max_width`` columns are cut, ids last; None: nothing is cut.
    """
    if not rows:
        return ""
    names = list(rows[0])
    headings = [name.replace("_", " ").upper() for name in names]
    cells = [[_cell(value) for value in row.values()] for row in rows]
    natural = [max(map(_width, column)) for column in zip(headings, *cells, strict=True)]
    widths = natural if max_width is None else _fitted(names, natural, max_width)
    return "\n".join(_line(texts, widths) for texts in [headings, *cells])


def _fitted(names: Sequence[str], natural: Sequence[int], max_width: int) -> list[int]:
    """Return the widths of the columns, at most ``max_width`` together: texts shrink first, ids last."""
    widths = list(natural)
    excess = sum(widths) + len(SEPARATOR) * (len(widths) - 1) - max_width
    headings = [max(len(name), MIN_COLUMN_WIDTH) for name in names]
    smallest = [MIN_COLUMN_WIDTH] * len(names)
    ids = {number for number, name in enumerate(names) if name in IDS or name.endswith("_id")}
    times = {number for number, name in enumerate(names) if name in TIMES or name.endswith("_at")}
    texts = set(range(len(names))) - ids - times
    for columns, floors in (
        *((texts, headings), (times, headings), (texts, smallest)),
        *((ids, headings), (times | ids, smallest)),
    ):
        while excess > 0 and (
            shrinkable := [number for number in columns if widths[number] > floors[number]]
        ):
            widths[max(shrinkable, key=widths.__getitem__)] -= 1
            excess -= 1
    return widths


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    columns = (_padded(text, width) for text, width in zip(texts, widths, strict=True))
    return SEPARATOR.join(columns).rstrip()


def _padded(text: str, width: int) -> str:
    if _width(text) > width:
        while _width(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - _width(text))


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}"
        case dt.datetime():
            return value.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
        case list() | tuple():
            return ", ".join(map(_cell, value)) or "-"
    return printable(str(value))


def printable(text: str) -> str:
    """Return the text with control characters escaped."""
    # Clients choose some of these texts: control characters must not reach a terminal.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def validation_messages(error: ValidationError) -> list[str]:
    """Return the messages of an error, each with the name of the field that it is about."""
    if not hasattr(error, "error_dict"):
        return list(error.messages)
    return [
        message if field == NON_FIELD_ERRORS else f"{field.replace('_', ' ')}: {message}"
        for field, messages in error.message_dict.items()
        for message in messages
    ]


class HelpfulParser(CommandParser):
    """A parser that suggests the closest choice to one that does not exist."""

    def error(self, message: str) -> NoReturn:
        """Fail with the message and, if there is one, the closest choice."""
        if (match := _CHOICE.search(message)) is not None:
            choices = re.findall(r"'([^']*)'", match[2]) or match[2].split(", ")
            if close := difflib.get_close_matches(match[1], choices, n=1):
                message += f". Did you mean {close[0]}?"
        super().error(message)
        raise AssertionError("unreachable")


def examples(parser: CommandParser, *lines: str) -> None:
    """Add examples to the help of a subcommand: its arguments, without ``manage.py`` and its own name."""
    parser.formatter_class = RawDescriptionHelpFormatter
    command = parser.prog.removesuffix(" ").replace("./manage.py", "manage.py")
    text = "\n".join(f"  {command} {line}".rstrip() for line in lines)
    parser.epilog = f"{'examples' if len(lines) > 1 else 'example'}:\n{text}"


def _require_text(options: Options) -> None:
    """Raise CommandError for an argument that no column of the database takes, such as bytes in Latin-1."""
    values = (value if isinstance(value, list) else [value] for value in options.values())
    for text in (each for value in values for each in value if isinstance(each, str)):
        if "\0" in text or text != text.encode(errors="replace").decode():
            raise CommandError(f"{printable(text)} is not text in UTF-8")


class SubcommandsCommand(BaseCommand):
    """A management command with subcommands, each with ``--json``. Input errors print as one line.

    ``example_arguments``: arguments that the help of each subcommand shows, by its name.
    """

    example_arguments: ClassVar[Mapping[str, Sequence[str]]] = {}

    # Django's own options work, but would be more than half of each help text.
    suppressed_base_arguments = {
        *("--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color"),
        "--force-color",
    }

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare each subcommand with ``add(name, handler, help)`` and add arguments to its parser."""
        raise NotImplementedError

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands."""
        parsers = parser.add_subparsers(
            dest="subcommand", required=True, metavar="SUBCOMMAND", parser_class=HelpfulParser
        )

        def add(name: str, handler: Handler, text: str) -> CommandParser:
            subparser: CommandParser = parsers.add_parser(name, help=text, description=text)
            subparser.set_defaults(handler=handler)
            subparser.add_argument("--json", action="store_true", help="print JSON for scripts")
            examples(subparser, *self.example_arguments.get(name, [""]))
            return subparser

        self.subcommands(add)

    @override
    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.__class__ = HelpfulParser  # Django offers no way to choose the class
        return parser

    @override
    def handle(self, *args: object, **options: Any) -> None:
        handler: Handler = options["handler"]
        _require_text(options)
        token = request_id.set(f"cmd_{uuid.uuid4().hex}")
        try:
            handler(options)
        except ValidationError as error:
            raise CommandError(" ".join(validation_messages(error))) from error
        finally:
            request_id.reset(token)

    @property
    def terminal_width(self) -> int | None:
        """The columns of the terminal that shows the output, None for a pipe or a file."""
        return shutil.get_terminal_size().columns if self.stdout.isatty() else None

    def show(self, rows: Sequence[Row], options: Options, *, nothing: str = "Nothing found.") -> None:
        """Print rows as a JSON list or as a table, which is cut to the width of a terminal only."""
        if options["json"]:
            self._print_json(list(rows))
        else:
            self._write(table(rows, max_width=self.terminal_width) or nothing)

    def show_one(self, row: Row, options: Options, text: str) -> None:
        """Print the result of a change as a sentence or as a JSON object."""
        if options["json"]:
            self._print_json(row)
        else:
            self._write(text)

    def _print_json(self, value: object) -> None:
        self._write(json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, indent=2))

    def _write(self, text: str) -> None:
        try:
            self.stdout.write(text)
            self.stdout.flush()
        except BrokenPipeError:
            # The reader closed the pipe: keep the interpreter's flush at exit from failing as well.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None

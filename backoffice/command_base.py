"""Base class of the management commands: subcommands that print tables for people or JSON for scripts."""

from __future__ import annotations

import datetime as dt
import difflib
import getpass
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from typing_extensions import override

Row: TypeAlias = Mapping[str, object]
Options: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Options], None]


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
    return CommandError(f"No such {kind}: {_printable(name)}.{hint} {remedy}")


def table(rows: Sequence[Row]) -> str:
    """Format ``rows`` as a table whose headings are the first row's names; empty without rows."""
    if not rows:
        return ""
    headings = [name.replace("_", " ").upper() for name in rows[0]]
    cells = [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(_width, column)) for column in zip(headings, *cells, strict=True)]
    return "\n".join(_line(texts, widths) for texts in [headings, *cells])


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    columns = (text + " " * (width - _width(text)) for text, width in zip(texts, widths, strict=True))
    return "  ".join(columns).rstrip()


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}"
        case dt.datetime():
            return value.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        case list() | tuple():
            return ", ".join(map(_cell, value)) or "-"
    return _printable(str(value))


def _printable(text: str) -> str:
    # Clients choose some of these texts: control characters must not reach a terminal.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


class SubcommandsCommand(BaseCommand):
    """A management command with subcommands, each with ``--json``. Input errors print as one line."""

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare each subcommand with ``add(name, handler, help)`` and add arguments to its parser."""
        raise NotImplementedError

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands."""
        parsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")

        def add(name: str, handler: Handler, text: str) -> CommandParser:
            subparser: CommandParser = parsers.add_parser(name, help=text, description=text)
            subparser.set_defaults(handler=handler)
            subparser.add_argument("--json", action="store_true", help="print JSON for scripts")
            return subparser

        self.subcommands(add)

    @override
    def handle(self, *args: object, **options: Any) -> None:
        handler: Handler = options["handler"]
        try:
            handler(options)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error

    def show(self, rows: Sequence[Row], options: Options, *, nothing: str = "Nothing found.") -> None:
        """Print rows as a table or as a JSON list."""
        if options["json"]:
            self._print_json(list(rows))
        else:
            self._write(table(rows) or nothing)

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

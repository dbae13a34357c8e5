"""What management commands share: subcommands, tables for people, JSON for scripts."""

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
Run: TypeAlias = Callable[[Options], None]


def operator() -> str:
    """How the person at this terminal is named as the one who made a change."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # containers run as numbers without a name
        return f"cli:{os.getuid()}"


def unknown(kind: str, name: str, known: Iterable[str], remedy: str) -> CommandError:
    """The error for a name that does not exist, with the nearest that does and what to do."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return CommandError(f"There is no {kind} {_printable(name)}.{hint} {remedy}")


def table(rows: Sequence[Row]) -> str:
    """``rows`` under the headings that the first one's names give; empty without rows."""
    if not rows:
        return ""
    headings = [name.replace("_", " ").upper() for name in rows[0]]
    cells = [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(_width, column)) for column in zip(headings, *cells, strict=True)]
    lines = (
        "  ".join(
            text + " " * (width - _width(text)) for text, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in [headings, *cells]
    )
    return "\n".join(lines)


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
    # Names in audit rows come from clients: control characters must not reach a terminal.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


class SubcommandsCommand(BaseCommand):
    """A command of subcommands, each with ``--json``; faults of input become one readable line."""

    def subcommands(self, add: Callable[[str, Run, str], CommandParser]) -> None:
        """Declare each with ``add(name, run, help)`` and give the parser it returns its arguments."""
        raise NotImplementedError

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands."""
        parsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")

        def add(name: str, run: Run, text: str) -> CommandParser:
            added: CommandParser = parsers.add_parser(name, help=text, description=text)
            added.set_defaults(run=run)
            added.add_argument("--json", action="store_true", help="print JSON for scripts")
            return added

        self.subcommands(add)

    @override
    def handle(self, *args: object, **options: Any) -> None:
        """Run the subcommand."""
        run: Run = options["run"]
        try:
            run(options)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error

    def show(self, rows: Sequence[Row], options: Options, *, nothing: str = "Nothing found.") -> None:
        """Print many things: a table, or a JSON list."""
        if options["json"]:
            self._print_json(list(rows))
        else:
            self._write(table(rows) or nothing)

    def show_one(self, row: Row, options: Options, text: str) -> None:
        """Print what was done: a sentence, or a JSON object."""
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
            # The reader has had enough; the interpreter would complain once more when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None

"""``python -m training.datasets check FILE``: check a dataset file; the exit status is 1 if it has faults."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from training.datasets.command import DatasetCommandError, add_check_arguments, check_file, file_previews
from training.datasets.formatting import report_text


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status: 0 valid, 1 not valid, 2 not checked, 3 unusable model."""
    parser = argparse.ArgumentParser(prog="python -m training.datasets")
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    check = subparsers.add_parser("check", help="check every line of a dataset file")
    add_check_arguments(check)
    check.add_argument("--model", type=Path, metavar="FOLDER", help="model folder, to count tokens")
    check.add_argument("--json", action="store_true", help="print JSON for scripts")
    sample = subparsers.add_parser("sample", help="print the first examples as JSON, with what is learned")
    sample.add_argument("file", type=Path)
    sample.add_argument("--model", type=Path, metavar="FOLDER", required=True)
    sample.add_argument("--count", type=int, default=2, metavar="N", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        if options.subcommand == "sample":
            print(msgspec.json.encode(file_previews(options.file, options.model, options.count)).decode())
            return 0
        report = check_file(options, options.model)
    except DatasetCommandError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.status
    print(msgspec.json.encode(report).decode() if options.json else report_text(report))
    return 0 if report.is_valid else 1


if __name__ == "__main__":
    sys.exit(main())

"""``manage.py audit export`` and ``audit verify --file``: audit records in files."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from django.core.management.base import CommandError, CommandParser

from backoffice.command_base import Options, command_actor
from tenants.audit_trail.export import DamagedTrailError, Export, Selection, audit_export
from tenants.audit_trail.models import Trail
from tenants.audit_trail.offline import FileVerification, NotAnExportError, csv_verify, file_verify
from tenants.management.arguments import utc_end, utc_moment
from tenants.management.lookup import tenant_filter

FORMATS = ("jsonl", "csv")
CSV_SUFFIX = ".csv"
# A file can have any values in place of those of an export.
_FILE_FAULTS = (NotAnExportError, ValueError, TypeError, AttributeError, KeyError, RecursionError)


def export_arguments(parser: CommandParser) -> None:
    """Add the options of ``audit export``."""
    parser.add_argument("--trail", choices=Trail.values, default=Trail.REQUESTS.value)
    parser.add_argument("--tenant", metavar="SLUG", help="only this tenant's records")
    parser.add_argument(
        "--from", dest="start", type=utc_moment, metavar="TIME", help="in UTC, such as 2026-01-31"
    )
    parser.add_argument(
        "--to",
        dest="end",
        type=utc_end,
        metavar="TIME",
        help="up to this time in UTC, or to the end of this date",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="jsonl",
        help="jsonl has the seals of the records; csv is for spreadsheets; verify --file reads both",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument(
        "--accept-damage",
        action="store_true",
        help="export although records deviate from their seals; the file names the deviations",
    )


def export_write(options: Options) -> Export:
    """Write the export. Raises CommandError, and DamagedTrailError without ``--accept-damage``."""
    tenant = tenant_filter(options["tenant"])
    tenant_id = None if tenant is None else tenant.id
    if options["start"] and options["end"] and options["start"] >= options["end"]:
        raise CommandError("--from must be before --to.")
    selection = Selection(Trail(options["trail"]), tenant_id, options["start"], options["end"])
    path: Path | None = options["output"]
    write = partial(
        audit_export,
        selection,
        form=options["format"],
        actor=command_actor(),
        accept_damage=options["accept_damage"],
    )
    if path is None:
        return write(sys.stdout)
    try:
        # Never readable by others, nor overwritten: it may be the only copy.
        with path.open("x", encoding="utf-8", newline="") as output:
            path.chmod(0o600)
            return write(output)
    except FileExistsError:
        raise CommandError(f"{path} exists already. Choose another name, or remove the file.") from None
    except DamagedTrailError:
        path.unlink()
        raise
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}.") from None


def export_verify(path: Path) -> FileVerification:
    """Verify an exported file, as CSV if its name ends in ``.csv``. Raises CommandError."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return csv_verify(lines) if path.suffix == CSV_SUFFIX else file_verify(lines)
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}.") from None
    except _FILE_FAULTS as error:
        form = "csv" if path.suffix == CSV_SUFFIX else "jsonl"
        raise CommandError(f"{path} is not an export in the format {form}: {error}.") from None

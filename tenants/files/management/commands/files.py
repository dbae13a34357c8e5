"""``manage.py files``: list, show, upload, download, delete and purge files of tenants."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from backoffice.command_base import Handler, Options, SubcommandsCommand, command_actor, unknown_name
from tenants.files import creation, deletion, selectors, sweep
from tenants.files.creation import NewFile
from tenants.files.deletion import FileInUseError
from tenants.files.models import Purpose, StoredFile
from tenants.files.storage.incoming import FileTooLargeError
from tenants.files.uploads import FileQuotaError
from tenants.management.arguments import hours, limit_argument, newest
from tenants.management.lookup import tenant_by_name, tenant_filter

UPLOAD_PURPOSES = (Purpose.FINE_TUNE.value, Purpose.BATCH.value, Purpose.USER_DATA.value)


def _row(file: StoredFile) -> dict[str, object]:
    return {
        "id": file.id,
        "tenant": file.tenant.slug,
        "filename": file.filename,
        "purpose": file.purpose,
        "bytes": file.size_bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
    }


def _details(file: StoredFile) -> dict[str, object]:
    return _row(file) | {
        "sha256": file.sha256,
        "storage_name": file.storage_name,
        "dataset_report": file.dataset_report,
    }


def _file(file_id: str) -> StoredFile:
    file = selectors.files().filter(id=file_id).first()
    if file is None:
        candidates = selectors.files().values_list("id", flat=True)[:1000]
        raise unknown_name("file", file_id, candidates, "Run `manage.py files list` to see all.")
    return file


class Command(SubcommandsCommand):
    """List, show, upload, download, delete and purge files of tenants."""

    help = "List, show, upload, download, delete and purge files of tenants."
    example_arguments = {
        "list": ("--tenant acme",),
        "show": ("file-abc123",),
        "upload": ("train.jsonl --tenant acme",),
        "download": ("file-abc123 train.jsonl",),
        "delete": ("file-abc123",),
    }

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, show, upload, download, delete and purge."""
        listing = add("list", self._list, "list files, newest first")
        listing.add_argument("--tenant", metavar="SLUG", help="only this tenant's files")
        listing.add_argument("--purpose", choices=Purpose.values, help="only files of this purpose")
        limit_argument(listing)
        show = add("show", self._show, "show a file with its digest and dataset report")
        show.add_argument("id", help="the file's ID in `files list`")
        self._upload_arguments(add("upload", self._upload, "store a file for a tenant"))
        download = add("download", self._download, "write a file's content to the disk")
        download.add_argument("id", help="the file's ID in `files list`")
        download.add_argument("path", type=Path, help="file to write, which must not exist")
        delete = add("delete", self._delete, "delete a file that no job needs")
        delete.add_argument("id", help="the file's ID in `files list`")
        add("purge", self._purge, "delete expired files, and objects in the storage that nothing refers to")

    def _upload_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help="file to upload")
        parser.add_argument("--tenant", metavar="SLUG", required=True)
        parser.add_argument("--purpose", choices=UPLOAD_PURPOSES, default=Purpose.FINE_TUNE.value)
        parser.add_argument(
            "--hours", type=hours, metavar="HOURS", help="lifetime in hours; default: the file never expires"
        )

    def _list(self, options: Options) -> None:
        tenant = tenant_filter(options["tenant"])
        files = selectors.files(tenant_id=tenant.id if tenant else None)
        if options["purpose"]:
            files = files.filter(purpose=options["purpose"])
        rows = [_row(file) for file in newest(files, options, self.stderr)]
        self.show(rows, options, nothing="No files.")

    def _show(self, options: Options) -> None:
        details = _details(_file(options["id"]))
        lines = (
            f"{name.replace('_', ' ')}: {'-' if value is None else value}" for name, value in details.items()
        )
        self.show_one(details, options, "\n".join(lines))

    def _upload(self, options: Options) -> None:
        path: Path = options["path"]
        lifetime_s = None if options["hours"] is None else round(options["hours"] * 3600)
        new = NewFile(filename=path.name, purpose=Purpose(options["purpose"]), lifetime_s=lifetime_s)
        tenant = tenant_by_name(options["tenant"])
        try:
            with path.open("rb") as content:
                file = creation.file_store(
                    tenant_id=tenant.id, content=content, new=new, actor=command_actor()
                )
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror or error}") from error
        except (ValidationError, FileTooLargeError, FileQuotaError, ValueError) as error:
            raise CommandError(str(error)) from error
        self.show_one(_details(file), options, f"File {file.id}, {file.size_bytes} bytes.")

    def _download(self, options: Options) -> None:
        file, path = _file(options["id"]), Path(options["path"])
        try:
            with selectors.file_open(file) as content, path.open("xb") as output:
                shutil.copyfileobj(content, output, 1024 * 1024)
        except FileExistsError as error:
            raise CommandError(f"{path} exists already.") from error
        except OSError as error:
            raise CommandError(f"{error.filename or path}: {error.strerror or error}") from error
        self.show_one(_row(file), options, f"{path}: {file.size_bytes} bytes.")

    def _delete(self, options: Options) -> None:
        file = _file(options["id"])
        row = _row(file)
        try:
            deletion.file_delete(file_id=file.id, actor=command_actor())
        except FileInUseError as error:
            users = ", ".join(error.users)
            raise CommandError(f"The file is used by {users}. Cancel these jobs first.") from error
        self.show_one(row, options, f"File {file.id} is deleted.")

    def _purge(self, options: Options) -> None:
        counts = {
            "expired_files": sweep.files_expire(),
            "pending_objects": sweep.objects_sweep(),
            "orphaned_objects": sweep.orphans_delete(),
        }
        text = ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items())
        self.show_one(counts, options, f"Deleted {text}.")

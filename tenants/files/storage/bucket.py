"""The storage of file contents in an S3 bucket. Imported only if the settings name one: it needs boto3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import File
from storages.backends.s3 import S3Storage
from typing_extensions import override

if TYPE_CHECKING:  # only the stubs' version is generic
    BytesFile = File[bytes]
else:
    BytesFile = File

NOT_FOUND = 404


@contextmanager
def _store_errors() -> Iterator[None]:
    """Raise the store's errors as OSError, as a folder does. Their texts can have requests' headers."""
    try:
        yield
    except ClientError as error:
        raise OSError(f"the object store answers {error.response['Error'].get('Code')}") from error
    except BotoCoreError as error:
        raise OSError(f"the object store failed: {type(error).__name__}") from error


class BucketFile(BytesFile):
    """An object that is read once, from its beginning, as it arrives."""

    def __init__(self, body: IO[bytes], name: str, size: int) -> None:
        super().__init__(body, name)
        self.size = size
        self._body = body

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, by default all. Raises OSError."""
        with _store_errors():
            return self._body.read(size) if size >= 0 else self._body.read()


class BucketStorage(S3Storage):  # type: ignore[misc]  # the package has no types
    """A bucket whose objects are streamed; django-storages would copy each to memory or disk first."""

    @override
    def get_default_settings(self) -> dict[str, Any]:
        # Each thread would hold a part of 8 MiB in memory.
        config = TransferConfig(use_threads=False)
        return {**super().get_default_settings(), "transfer_config": config}

    @override
    def _open(self, name: str, mode: str = "rb") -> Any:
        if mode != "rb":
            return super()._open(name, mode)
        with _store_errors():
            try:
                response = self.bucket.Object(self._normalize_name(name)).get()
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == NOT_FOUND:
                    raise FileNotFoundError(name) from None
                raise
        return BucketFile(response["Body"], name, response["ContentLength"])

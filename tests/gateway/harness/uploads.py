"""Uploads of files through the gateway: forms as clients encode them."""

from __future__ import annotations

from typing import Any

from api.gateway.app import Gateway
from tests.gateway.harness.driver import Connection, Reply, connect

FILES = "/v1/files"
BOUNDARY = "boundary-7"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def field(name: str, value: str) -> bytes:
    """Return a part of a form with a field."""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file_part(content: bytes, filename: str = "a.txt", *headers: str) -> bytes:
    """Return a part of a form with a file. ``headers`` are further lines of its head."""
    disposition = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
    head = "\r\n".join((f"--{BOUNDARY}", disposition, *headers)).encode()
    return head + b"\r\n\r\n" + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def form(content: bytes, filename: str = "a.txt", purpose: str = "user_data", **fields: str) -> bytes:
    """Return a form that uploads a file."""
    parts = [field(name, value) for name, value in {"purpose": purpose, **fields}.items()]
    return b"".join(parts) + file_part(content, filename) + END


def start_upload(gateway: Gateway, key: str, body: bytes = b"", **options: Any) -> Connection:
    """Start a request with this form. The options are those of ``connect``."""
    headers = {"content-type": CONTENT_TYPE, **options.pop("headers", {})}
    if "chunks" not in options:
        options["raw"] = body or form(b"content")
    return connect(gateway, "POST", FILES, key=key, headers=headers, **options)


async def upload(gateway: Gateway, key: str, body: bytes = b"", **options: Any) -> Reply:
    """Upload a form, by default one with a short file."""
    return await start_upload(gateway, key, body, **options).finish()

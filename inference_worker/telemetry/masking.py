"""Masking of secrets and folders in logs and messages; tracebacks without the messages of their errors."""

from __future__ import annotations

import re
import traceback

MASK = "[masked]"
_SECRETS = re.compile(
    r"\bsk-(?:cy-[A-Za-z0-9_-]+|[A-Za-z0-9_-]{16,})"  # API keys of this platform and of similar ones
    r"|(?i:\b(?:bearer|basic))\s+[^\s'\",]+"
    r"|(?<=://)[^\s'\"<>]{0,1000}(?=@)"  # a password in a URL can contain a slash
    r"|(?<=(?i:password=))[^\s'\"&]+"
)
# The folders of an absolute path, which is not part of a URL or of a relative path.
_FOLDERS = re.compile(r"(?<![\w/.~-])(?:/[\w.@+~-]+)+/(?=[\w.@+~-])")


def mask_secrets(text: str) -> str:
    """Replace API keys, tokens of Authorization headers, and passwords of URLs."""
    return _SECRETS.sub(MASK, text)


def mask_folders(text: str) -> str:
    """Replace the folders of absolute paths, which say something about the machine; file names stay."""
    return _FOLDERS.sub("…/", text)


def trace_without_messages(error: BaseException) -> str:
    """Return the tracebacks and types of an error and its causes, without their messages.

    For errors whose messages can quote a prompt or a response.
    """
    parts = []
    for exception in reversed(_chain(error)):
        frames = "".join(traceback.format_tb(exception.__traceback__))
        parts.append(f"{frames}{type(exception).__module__}.{type(exception).__qualname__}")
    return "\nwhich led to\n".join(parts)


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return chain

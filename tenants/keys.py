"""The form of an API key: ``sk-cy-<public prefix>-<secret>``, and how a presented key is checked."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass, field

_ALPHABET = string.digits + string.ascii_letters
_FORM = re.compile(r"sk-cy-([0-9A-Za-z]{12})-[A-Za-z0-9_-]{43}", re.ASCII)
_NO_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just drawn. ``secret`` is the whole text a client sends; it exists nowhere else."""

    prefix: str
    secret: str = field(repr=False)
    secret_hash: str


def key_draw() -> NewKey:
    """A new key with 256 random bits after its prefix."""
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    secret = f"sk-cy-{prefix}-{secrets.token_urlsafe(32)}"
    return NewKey(prefix=prefix, secret=secret, secret_hash=key_hash(secret))


def key_hash(raw: str) -> str:
    """SHA-256 of the whole key, in hexadecimal.

    Slow hashes protect what people choose. This has 256 random bits, which nobody can try through,
    so a fast hash is as safe and keeps the check out of the request's time.
    """
    return hashlib.sha256(raw.encode()).hexdigest()


def split_key(raw: str) -> str | None:
    """The public prefix of a well-formed key; None for anything else. Looks nothing up."""
    match = _FORM.fullmatch(raw)
    return match.group(1) if match else None


def key_matches(raw: str, secret_hash: str | None) -> bool:
    """Whether ``raw`` is the key with this hash. The same work is done for an unknown key (None)."""
    same = hmac.compare_digest(key_hash(raw), secret_hash or _NO_HASH)
    return same and secret_hash is not None

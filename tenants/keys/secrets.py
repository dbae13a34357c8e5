"""Format and verification of API keys: ``sk-cy-<public prefix>-<random part>``."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass, field

_ALPHABET = string.digits + string.ascii_letters
_FORMAT = re.compile(r"sk-cy-([0-9A-Za-z]{12})-[A-Za-z0-9_-]{43}", re.ASCII)
_NO_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key. ``secret`` is the complete text that a client sends; it is stored nowhere."""

    prefix: str
    secret: str = field(repr=False)
    secret_hash: str


def key_generate(prefix: str = "") -> NewKey:
    """Return a new key with 256 random bits after its prefix, a new one unless given."""
    prefix = prefix or "".join(secrets.choice(_ALPHABET) for _ in range(12))
    secret = f"sk-cy-{prefix}-{secrets.token_urlsafe(32)}"
    return NewKey(prefix=prefix, secret=secret, secret_hash=key_hash(secret))


def key_hash(raw: str) -> str:
    """Return the SHA-256 of the complete key in hexadecimal.

    Slow hashes protect passwords that people choose. Nobody can enumerate 256 random bits, so a fast hash
    is equally safe and adds no latency to requests.
    """
    return hashlib.sha256(raw.encode()).hexdigest()


def split_key(raw: str) -> str | None:
    """Return the public prefix of a well-formed key, None for any other text; no database lookup."""
    match = _FORMAT.fullmatch(raw)
    return match.group(1) if match else None


def key_prefix(text: str) -> str:
    """Return the public prefix in a text: a whole key, its beginning, or the prefix alone."""
    return split_key(text) or text.removeprefix("sk-cy-").partition("-")[0]


def key_matches(raw: str, secret_hash: str | None) -> bool:
    """Return whether ``raw`` has this hash. An unknown key (None) takes the same time."""
    is_equal = hmac.compare_digest(key_hash(raw), secret_hash or _NO_HASH)
    return is_equal and secret_hash is not None

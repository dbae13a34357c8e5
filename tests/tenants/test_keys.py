"""Format and verification of API keys."""

from __future__ import annotations

import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.keys import secrets


def test_a_new_key_has_a_public_prefix_and_256_random_bits() -> None:
    key = secrets.key_generate()
    assert re.fullmatch(r"sk-cy-[0-9A-Za-z]{12}-[A-Za-z0-9_-]{43}", key.secret)
    assert secrets.split_key(key.secret) == key.prefix
    assert secrets.key_generate().secret != key.secret


def test_the_repr_of_a_new_key_omits_its_secret() -> None:
    key = secrets.key_generate()
    assert key.secret not in repr(key)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "sk-cy-",
        "sk-cy-abcdefghijkl",
        "sk-cy-abcdefghijk-" + "a" * 43,
        "sk-cy-abcdefghijkl-" + "a" * 42,
        "sk-cy-abcdefghijkl-" + "a" * 44,
        "sk-cy-abcdefghijkl-" + "a" * 43 + "\n",
        "SK-CY-abcdefghijkl-" + "a" * 43,
        "sk-cy-abcdefghijk\u0661-" + "a" * 43,
        "Bearer sk-cy-abcdefghijkl-" + "a" * 43,
    ],
)
def test_malformed_keys_have_no_prefix(raw: str) -> None:
    assert secrets.split_key(raw) is None


@given(st.text())
def test_splitting_never_fails_and_accepts_only_well_formed_keys(raw: str) -> None:
    prefix = secrets.split_key(raw)
    assert prefix is None or raw.startswith(f"sk-cy-{prefix}-")


@pytest.mark.criterion("1.8")
def test_a_key_matches_only_its_own_hash() -> None:
    key, other_key = secrets.key_generate(), secrets.key_generate()
    assert secrets.key_matches(key.secret, key.secret_hash)
    assert not secrets.key_matches(other_key.secret, key.secret_hash)
    assert not secrets.key_matches(key.secret, None)


@pytest.mark.criterion("1.8")
def test_known_and_unknown_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[tuple[int, int]] = []
    original = hmac.compare_digest

    def spy(left: str, right: str) -> bool:
        lengths.append((len(left), len(right)))
        return original(left, right)

    monkeypatch.setattr("tenants.keys.secrets.hmac.compare_digest", spy)
    key = secrets.key_generate()
    results = [
        secrets.key_matches(key.secret, secret_hash) for secret_hash in (key.secret_hash, "f" * 64, None)
    ]
    assert results == [True, False, False]
    assert lengths == [(64, 64)] * 3

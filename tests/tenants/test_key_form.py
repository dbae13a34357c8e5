"""What an API key looks like and how a presented one is checked."""

from __future__ import annotations

import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants import keys


def test_a_drawn_key_has_a_public_prefix_and_256_random_bits() -> None:
    drawn = keys.key_draw()
    assert re.fullmatch(r"sk-cy-[0-9A-Za-z]{12}-[A-Za-z0-9_-]{43}", drawn.secret)
    assert keys.split_key(drawn.secret) == drawn.prefix
    assert keys.key_draw().secret != drawn.secret


def test_the_secret_is_not_in_the_printed_form_of_a_drawn_key() -> None:
    drawn = keys.key_draw()
    assert drawn.secret not in repr(drawn)


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
def test_anything_else_is_no_key(raw: str) -> None:
    assert keys.split_key(raw) is None


@given(st.text())
def test_splitting_never_fails_and_only_takes_well_formed_keys(raw: str) -> None:
    prefix = keys.split_key(raw)
    assert prefix is None or raw.startswith(f"sk-cy-{prefix}-")


@pytest.mark.criterion("1.8")
def test_a_key_matches_its_own_hash_only() -> None:
    drawn, other = keys.key_draw(), keys.key_draw()
    assert keys.key_matches(drawn.secret, drawn.secret_hash)
    assert not keys.key_matches(other.secret, drawn.secret_hash)
    assert not keys.key_matches(drawn.secret, None)


@pytest.mark.criterion("1.8")
def test_known_and_unknown_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[tuple[int, int]] = []
    original = hmac.compare_digest

    def spy(left: str, right: str) -> bool:
        lengths.append((len(left), len(right)))
        return original(left, right)

    monkeypatch.setattr("tenants.keys.hmac.compare_digest", spy)
    drawn = keys.key_draw()
    answers = [
        keys.key_matches(drawn.secret, secret_hash) for secret_hash in (drawn.secret_hash, "f" * 64, None)
    ]
    assert answers == [True, False, False]
    assert lengths == [(64, 64)] * 3

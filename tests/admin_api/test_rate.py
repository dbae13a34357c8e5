"""The rate limit of the administrative API."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import redis
from django.conf import settings
from django.test import override_settings

if TYPE_CHECKING:
    from tests.admin_api.conftest import ApiClient, NewKey
    from tests.people import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.criterion("6.2")]
LIMIT = 2


def test_a_key_is_held_to_its_requests_per_minute(
    with_key: NewKey, owner: ApiClient, redis_client: redis.Redis
) -> None:
    limited_client, other = with_key("admin", requests_per_minute=LIMIT), with_key("admin")
    assert [limited_client("GET", "tenants").status for _ in range(LIMIT + 2)] == [200, 200, 429, 429]
    refusal = limited_client("GET", "tenants")
    assert refusal.error == (429, "rate_limit_exceeded", None)
    assert "limit 2, used 2, requested 1" in refusal.body["error"]["message"]
    assert other("GET", "tenants").status == owner("GET", "tenants").status == 200


@pytest.mark.parametrize(
    ("limit", "offsets_s", "refused_s", "expected_s"),
    [
        (1, (5,), 20, 101),  # it counts until the whole next minute is over
        (2, (5, 6), 20, 71),  # half of the next minute
        (2, (59, 61), 70, 51),  # the first is still counted in the minute of the second
        (0, (), 20, 60),
    ],
)
def test_a_request_after_the_wait_is_admitted(
    with_key: NewKey,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
    offsets_s: tuple[int, ...],
    refused_s: int,
    expected_s: int,
) -> None:
    key = with_key("admin", requests_per_minute=limit)

    def status_at(offset_s: int) -> tuple[int, str | None]:
        monkeypatch.setattr("api.admin_api.rate.time", SimpleNamespace(time=lambda: 6_000_000.0 + offset_s))
        reply = key("GET", "tenants")
        return reply.status, reply.headers.get("Retry-After")

    assert [status_at(offset_s) for offset_s in offsets_s] == [(200, None)] * len(offsets_s)
    assert status_at(refused_s) == (429, str(expected_s))
    if not limit:
        refusal = key("GET", "tenants")
        assert refusal.body["error"]["message"].endswith("Ask your administrator for a higher one.")
        assert refusal.headers["x-should-retry"] == "false"
    else:
        assert status_at(refused_s + expected_s - 2)[0] == 429
        assert status_at(refused_s + expected_s)[0] == 200


def test_a_person_is_held_to_the_limit_of_the_settings(owner: ApiClient, redis_client: redis.Redis) -> None:
    limited_settings = settings.CYLLM.model_copy(update={"admin_requests_per_minute": LIMIT})
    with override_settings(CYLLM=limited_settings):
        assert [owner("GET", "tenants").status for _ in range(LIMIT + 1)] == [200, 200, 429]


def test_all_keys_of_a_person_share_the_limit_with_the_session(
    with_key: NewKey, owner: ApiClient, operator: ApiClient, cast: Cast, redis_client: redis.Redis
) -> None:
    first, second = (with_key("admin", user=cast.owner) for _ in range(2))
    clients = [with_key("admin", created_by=operator.user) for _ in range(3)]
    limited_settings = settings.CYLLM.model_copy(update={"admin_requests_per_minute": LIMIT})
    with override_settings(CYLLM=limited_settings):
        statuses = [caller("GET", "tenants").status for caller in (first, second, first, owner)]
        assert statuses == [200, 200, 429, 429]
        # Those that an operator creates for a tenant share a limit of their own.
        assert [key("GET", "tenants").status for key in clients] == [200, 200, 429]
        assert operator("GET", "tenants").status == 200


def test_without_redis_nothing_is_limited(with_key: NewKey, caplog: pytest.LogCaptureFixture) -> None:
    key = with_key("admin", requests_per_minute=LIMIT)
    with override_settings(CYLLM=settings.CYLLM.model_copy(update={"redis_url": "redis://127.0.0.1:1"})):
        assert [key("GET", "tenants").status for _ in range(LIMIT + 1)] == [200] * 3
    assert "isn't counted" in caplog.text

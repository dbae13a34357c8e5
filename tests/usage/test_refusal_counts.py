"""Counts of refused requests are stored once, and keys show when they were last refused."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
import redis
from django.db import connection
from django.utils import timezone

from inference_worker.protocol import codec
from inference_worker.protocol.codec import ProtocolError
from inference_worker.protocol.messages import Outcome
from tenants import tasks
from tenants.audit_trail import row_purge
from tenants.ledger.drain import DEAD_STREAM, ledger_drain
from tenants.ledger.fact_decoding import fact_decode
from tenants.models import AdminAudit, ApiKey, AuditRecord, Tenant, UsageRecord
from tenants.usage import retention
from tenants.usage.models import RefusalCount
from tests.tenants.facts import STARTED_AT, end_fact, refused_fact, start_fact, write_facts

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db


def drain(client: redis.Redis) -> None:
    while ledger_drain(client, consumer="tests"):
        pass


def test_a_count_is_stored_once_however_often_it_arrives(redis_client: redis.Redis) -> None:
    write_facts(redis_client, refused_fact("f1"), refused_fact("f2", requests=2, key_id=None))
    drain(redis_client)
    write_facts(redis_client, refused_fact("f1"), refused_fact("f1"), start_fact())
    drain(redis_client)
    counts = RefusalCount.objects.order_by("fact_id").values_list("fact_id", "requests", "key_prefix")
    assert list(counts) == [("f1", 7, "abcdefghijkl"), ("f2", 2, "")]
    assert (AuditRecord.objects.count(), UsageRecord.objects.count()) == (0, 1)
    first = RefusalCount.objects.get(fact_id="f1")
    assert first.minute_at == dt.datetime.fromtimestamp(int(STARTED_AT), dt.UTC)
    assert (first.client_network, first.status) == ("192.0.2.0/24", 429)


def test_a_count_that_no_row_can_hold_is_set_aside(redis_client: redis.Redis) -> None:
    with pytest.raises(ProtocolError, match="fact_id"):
        fact_decode(codec.encode(refused_fact("")))
    with pytest.raises(ProtocolError, match="requests"):
        fact_decode(codec.encode(refused_fact(requests=-1)))
    write_facts(redis_client, refused_fact(requests=-1), refused_fact("f2"))
    drain(redis_client)
    assert RefusalCount.objects.get().fact_id == "f2"
    assert redis_client.xlen(DEAD_STREAM) == 1


@pytest.mark.case("admin.14")
@pytest.mark.parametrize(
    ("status", "outcome", "is_refusal"),
    [
        (403, Outcome.REFUSED, True),
        (429, Outcome.REFUSED, True),
        (400, Outcome.REFUSED, False),
        (200, Outcome.COMPLETED, False),
    ],
)
def test_a_key_records_its_last_refusal(
    redis_client: redis.Redis, cast: Cast, status: int, outcome: Outcome, is_refusal: bool
) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    write_facts(redis_client, end_fact(key_id=str(key.id), attempt=0, status=status, outcome=outcome))
    drain(redis_client)
    key.refresh_from_db()
    at = dt.datetime.fromtimestamp(STARTED_AT, dt.UTC)
    assert (key.last_refused_at, key.last_used_at) == (at if is_refusal else None, None)


@pytest.mark.case("admin.14")
def test_a_count_of_refusals_is_a_refusal_of_its_key(redis_client: redis.Redis, cast: Cast) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    later = msgspec.structs.replace(refused_fact(key_id=str(key.id)), minute_at=int(STARTED_AT) + 600)
    earlier = refused_fact("f2", key_id=str(key.id))
    write_facts(redis_client, later, earlier)
    drain(redis_client)
    key.refresh_from_db()
    assert key.last_refused_at == dt.datetime.fromtimestamp(int(STARTED_AT) + 600, dt.UTC)


@pytest.mark.criterion("5.10")
def test_counts_are_purged_with_the_retention_of_their_tenant(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_purge, "BATCH", 2)
    now, day = timezone.now(), dt.timedelta(days=1)
    Tenant.objects.filter(id=cast.acme.id).update(audit_keep_days=5)
    ages = {cast.acme: (6, 7, 8, 4), cast.globex: (6, 200), None: (6, 200)}
    rows = [(tenant, age) for tenant, tenant_ages in ages.items() for age in tenant_ages]
    for number, (tenant, age) in enumerate(rows):
        RefusalCount.objects.create(
            fact_id=f"f{number}", minute_at=now - age * day, tenant=tenant, status=429, requests=1
        )
    assert tasks.audit_purge_task() == 0
    left = RefusalCount.objects.order_by("fact_id").values_list("fact_id", flat=True)
    assert list(left) == ["f3", "f4", "f6"]
    purges = AdminAudit.objects.filter(action=retention.PURGE.action).order_by("id")
    assert [(purge.tenant_id, purge.before) for purge in purges] == [
        (cast.acme.id, {"counts": 2}),
        (cast.acme.id, {"counts": 1}),
        (None, {"counts": 2}),
    ]


@pytest.mark.django_db(transaction=True)
def test_a_purge_leaves_the_rows_of_another_one_to_it() -> None:
    for number in range(3):
        RefusalCount.objects.create(fact_id=f"f{number}", minute_at=timezone.now(), status=429, requests=1)
    server: dict[str, Any] = connection.get_connection_params()
    server.pop("cursor_factory", None)
    with psycopg.connect(**server) as other_purge:
        other_purge.execute("SELECT id FROM usage_refusalcount WHERE fact_id = 'f0' FOR UPDATE")
        assert retention.refusals_purge(before=timezone.now(), actor="tests") == 2
    assert [count.fact_id for count in RefusalCount.objects.all()] == ["f0"]
    assert AdminAudit.objects.get(action=retention.PURGE.action).before == {"counts": 2}


@pytest.mark.case("admin.2")
def test_an_audit_record_has_the_parameter_and_the_requested_model(redis_client: redis.Redis) -> None:
    end = end_fact(attempt=0, status=404, outcome=Outcome.REFUSED, error_code="model_not_found", model=None)
    write_facts(redis_client, msgspec.structs.replace(end, error_param="model", requested_model="gpt-4\x00"))
    drain(redis_client)
    record = AuditRecord.objects.get()
    assert (record.error_param, record.requested_model, record.model) == ("model", "gpt-4�", "")

"""The admin's index and its page of workers: what needs attention, in a bounded number of queries."""

from __future__ import annotations

import datetime as dt
import html
import re
import time
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from inference_worker.protocol import codec, names
from inference_worker.registry.services import model_register
from tenants.audit_trail.models import Trail
from tenants.audit_trail.sealing import audit_seal
from tenants.files.models import StoredFile
from tenants.models import AdminAudit, ApiKey, AuditRecord, SpendReservation, Tenant, UsageRecord
from tenants.services import tenant_update
from tenants.tasks import audit_check_task
from tests.heartbeats import ready_heartbeat
from tests.people import Cast
from tests.usage.records import usage_at

pytestmark = pytest.mark.django_db

MAX_QUERIES = 25
BATCH = 5_000


@pytest.fixture
def boss(cast: Cast, redis_client: Any) -> Client:
    """A superuser's browser."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def beat(redis_client: Any, worker_id: str, *models: str, is_live: bool = True) -> None:
    """Store a worker's heartbeat; one that is not live has expired."""
    heartbeat = ready_heartbeat(*models, worker_id=worker_id, running=3, waiting=2, written_at=time.time())
    data = codec.encode(heartbeat)
    redis_client.zadd(names.WORKER_INDEX, {worker_id: 1})
    if is_live:
        redis_client.set(names.worker_key(worker_id), data, ex=60)
    redis_client.set(names.last_seen_key(worker_id), data, ex=int(names.LAST_SEEN_EXPIRY_S))


def records(tenant: Tenant, count: int, **values: Any) -> None:
    """Store usage records of this moment, without cost unless one is given."""
    key = ApiKey.objects.get(tenant=tenant, name=tenant.slug)
    usage_at(tenant, *[timezone.now()] * count, key=key, **{"cost_microusd": 0, "model": "m", **values})


def text_of(client: Client, address: str = "/admin/", language: str = "en") -> str:
    """Return the text of a page."""
    response = client.get(address, headers={"accept-language": language})
    assert response.status_code == 200
    return response.content.decode()


def test_the_index_says_that_nothing_needs_attention(boss: Client, redis_client: Any) -> None:
    beat(redis_client, "w1")
    assert "No faults are known." in text_of(boss)


@pytest.mark.case("admin.3")
def test_the_index_names_lost_workers_and_models_without_a_worker(boss: Client, redis_client: Any) -> None:
    model_register(name="served", actor="tests")
    model_register(name="orphan", actor="tests")
    beat(redis_client, "w1", "served")
    beat(redis_client, "w2", "served", is_live=False)
    text = text_of(boss)
    assert "Worker w2: lost, seen" in text
    assert "orphan is not served: No worker serves it." in text
    assert "served is not served" not in text


def test_the_index_names_failing_models_and_tenants_near_their_limits(
    boss: Client, cast: Cast, redis_client: Any
) -> None:
    tenant_update(tenant_id=cast.acme.pk, actor="tests", spend_per_month_microusd=1_000_000)
    tenant_update(tenant_id=cast.globex.pk, actor="tests", spend_per_month_microusd=1_000_000_000)
    records(cast.acme, 4, outcome="failed", error_code="engine_error")
    records(cast.acme, 6, cost_microusd=160_000)
    text = text_of(boss)
    assert "4 of 10 requests to m failed in the last hour." in text
    assert "acme has spent $0.96 of $1.00 this month." in text
    assert "globex has spent" not in text
    reservation = {"tenant_id": cast.globex.pk, "amount_microusd": 950_000_000}
    SpendReservation.objects.create(source_id="ftjob-open", **reservation)
    assert "globex has spent $0.00 of $1000.00 this month; open jobs reserve $950.00." in text_of(boss)


def test_tenants_near_their_limits_of_requests_tokens_and_stored_bytes_are_named(
    boss: Client, cast: Cast, redis_client: Any
) -> None:
    acme, globex = cast.acme.pk, cast.globex.pk
    tenant_update(tenant_id=acme, actor="tests", requests_per_minute=10, tokens_per_minute=150)
    tenant_update(tenant_id=acme, actor="tests", stored_bytes=1000)
    tenant_update(tenant_id=globex, actor="tests", requests_per_minute=100, stored_bytes=1000)
    files = [(cast.acme, 950), (cast.globex, 500)]
    for tenant, size in files:
        StoredFile.objects.create(
            id=f"file-{tenant.slug}", tenant=tenant, filename="a.jsonl", purpose="fine-tune",
            size_bytes=size, sha256="0" * 64, storage_name=f"uploads/{tenant.slug}",
        )  # fmt: skip
        records(tenant, 9)
    text = text_of(boss)
    assert "acme has sent 9 of 10 requests in the last minute." in text
    assert "acme has used 135 of 150 tokens in the last minute." in text
    assert "acme stores 950 B of 1000 B in files." in text
    assert "globex has sent" not in text
    assert "globex stores" not in text
    UsageRecord.objects.update(started_at=timezone.now() - dt.timedelta(minutes=2))
    assert "acme has sent" not in text_of(boss)


def test_tenants_near_the_default_limit_are_named_as_well(
    boss: Client, cast: Cast, redis_client: Any, settings: Any
) -> None:
    records(cast.acme, 1, cost_microusd=950_000)
    assert "acme has spent" not in text_of(boss)
    limits = {"default_spend_per_day_microusd": 900_000, "default_spend_per_month_microusd": 1_000_000}
    settings.CYLLM = settings.CYLLM.model_copy(update=limits)
    text = text_of(boss)
    assert "acme has spent $0.95 of $0.90 today." in text
    assert "acme has spent $0.95 of $1.00 this month." in text
    assert "globex has spent" not in text


def test_the_index_ranks_tenants_and_keys_by_tokens(boss: Client, cast: Cast) -> None:
    records(cast.acme, 3)
    records(cast.globex, 5)
    overview = boss.get("/admin/").context["overview"]
    assert [(rank.name, rank.sum.tokens) for rank in overview["top_tenants"]] == [
        ("globex", 75),
        ("acme", 45),
    ]
    assert [rank.name.split(":")[0] for rank in overview["top_keys"]] == ["globex", "acme"]
    assert (overview["total"].requests, overview["total"].tokens, overview["total"].failures) == (8, 120, 0)
    requests = [values[0] for _, values in overview["charts"][0].rows]
    assert (len(requests), sum(requests)) in ((24, 8), (25, 8))


@pytest.mark.case("admin.16")
def test_recent_changes_have_an_actor_and_a_verb_in_both_languages(boss: Client, cast: Cast) -> None:
    tenant_update(tenant_id=cast.acme.pk, actor="user:owner", name="Acme 2")
    assert "<strong>owner</strong> changed the tenant" in text_of(boss)
    assert "<strong>owner</strong> 修改了租户" in text_of(boss, language="zh-hans")


@pytest.mark.criterion("6.2")
def test_staff_see_only_their_tenants_and_what_they_have_the_right_to(cast: Cast, redis_client: Any) -> None:
    records(cast.acme, 1)
    records(cast.globex, 2)
    cast.owner.is_staff = True
    cast.owner.save()
    client = Client()
    client.force_login(cast.owner)
    bare = text_of(client)
    assert "The last 24 hours" not in bare
    assert "Recent changes" not in bare
    assert client.get("/admin/workers/").status_code == 404
    names_of_rights = ("view_usagerecord", "view_adminaudit", "view_tenant", "view_apikey")
    cast.owner.user_permissions.set(Permission.objects.filter(codename__in=names_of_rights))
    overview = client.get("/admin/").context["overview"]
    assert [rank.name for rank in overview["top_tenants"]] == ["acme"]
    assert overview["total"].requests == 1
    assert {change.object_name for change in overview["changes"]} & {"globex"} == set()


@pytest.mark.case("admin.3")
def test_the_page_of_workers_shows_their_load_and_why_models_are_not_served(
    boss: Client, redis_client: Any
) -> None:
    model_register(name="served", actor="tests")
    model_register(name="orphan", actor="tests")
    beat(redis_client, "w1", "served")
    context = boss.get("/admin/workers/").context
    assert [(worker.worker_id, worker.status.value) for worker, _ in context["workers"]] == [("w1", "ready")]
    reasons = {model.name: readiness.reason() for model, readiness in context["models"]}
    assert reasons == {
        "served": "Served by 1 worker.",
        "orphan": "No worker serves it. An operator has to start one.",
    }
    text = text_of(boss, "/admin/workers/")
    assert "vllm" in text
    assert "<td>3</td>" in text


def test_without_redis_the_index_says_so(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    def fail(_: str) -> None:
        raise redis.ConnectionError("refused")

    monkeypatch.setattr("inference_worker.registry.worker_sightings.worker_sightings", fail)
    assert "Redis is unavailable: no request can be served." in text_of(boss)
    assert "so the workers are unknown" in text_of(boss, "/admin/workers/")


def test_a_recent_change_leads_to_the_changes_of_its_object_alone(boss: Client, cast: Cast) -> None:
    object_id = str(model_register(name="served", actor="tests").pk)
    for action, key in (("member.set", object_id), ("model.update", f"{object_id}1")):
        values = {"actor": "tests", "object_name": "another", "after": {"note": object_id}}
        AdminAudit.objects.create(action=action, object_id=key, **values)
    text = text_of(boss)
    link = re.search(r'href="(/admin/tenants/adminaudit/[^"]+)"[^>]*>\s*served', text)
    assert link is not None
    changes = boss.get(html.unescape(link[1])).context["cl"].result_list
    assert [(change.action, change.object_name) for change in changes] == [("model.create", "served")]


def multiply_records(count: int) -> None:
    """Copy the only usage record until there are so many, each a second older."""
    columns = [str(field.column) for field in UsageRecord._meta.concrete_fields]
    changes = {
        "id": "nextval(pg_get_serial_sequence('tenants_usagerecord', 'id'))",
        "request_id": "request_id || number",
        "started_at": "started_at - number * interval '1 second'",
    }
    values = ", ".join(changes.get(column, column) for column in columns)
    insert = (
        f"INSERT INTO tenants_usagerecord ({', '.join(columns)}) SELECT {values} "  # noqa: S608 - own names
        "FROM tenants_usagerecord, generate_series(%s, %s) AS number WHERE request_id = %s"
    )
    original = UsageRecord.objects.get().request_id
    with connection.cursor() as cursor:
        for first in range(1, count, BATCH):  # in parts, because a statement may take only so long
            cursor.execute(insert, [first, min(first + BATCH, count) - 1, original])


def test_the_index_needs_few_queries_and_little_time_with_100_000_records(boss: Client, cast: Cast) -> None:
    records(cast.acme, 1)
    multiply_records(100_000)
    assert UsageRecord.objects.count() == 100_000
    for number in range(20):
        model_register(name=f"model-{number}", actor="tests")
    tenant_update(tenant_id=cast.acme.pk, actor="tests", spend_per_day_microusd=1)
    boss.get("/admin/")
    with CaptureQueriesContext(connection) as queries:
        boss.get("/admin/")
    assert len(queries) <= MAX_QUERIES
    # Generous, for machines under load: sums of the records themselves would take far longer.
    assert sum(float(query["time"]) for query in queries.captured_queries) < 3


def test_a_changed_audit_record_needs_attention_until_a_check_finds_none(cast: Cast, boss: Client) -> None:
    values = {"endpoint": "/v1/models", "status": 200, "outcome": "completed", "duration_s": 0.1}
    record = AuditRecord.objects.create(request_id="r", tenant=cast.acme, at=timezone.now(), **values)
    for trail in Trail:  # the tenants may have been created some time ago
        audit_seal(trail)
    AuditRecord.objects.filter(id=record.id).update(status=500)
    assert audit_check_task() == 1
    notice, address = (
        f"records up to {record.id}: a record was changed",
        reverse("admin:tenants_auditrecord_changelist"),
    )
    page = boss.get("/admin/").content.decode()
    assert notice in page
    assert f'href="{address}"' in page
    AuditRecord.objects.filter(id=record.id).update(status=200)
    assert audit_check_task() == 0
    assert notice not in boss.get("/admin/").content.decode()

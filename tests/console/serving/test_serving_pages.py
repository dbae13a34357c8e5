"""The pages about serving and the tenant, as Django renders them: content, roles, faults, bounded queries."""

from __future__ import annotations

import datetime as dt
import io
import re
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from inference_worker.registry import services as registry
from inference_worker.registry.models import Adapter
from tenants.audit_trail.models import Trail
from tenants.audit_trail.sealing import audit_seal
from tenants.files.creation import NewFile, file_store
from tenants.files.models import Purpose
from tenants.keys.services import key_create
from tenants.members.services import membership_set, service_account_create
from tenants.models import AuditRecord
from tenants.quotas.reservations import spend_reserve
from tests.console.harness.heartbeats import beat, heartbeat, lose
from tests.people import Cast
from tests.usage.records import usage_at
from training.models import FineTuningJob

pytestmark = pytest.mark.django_db
PAGES = (
    *("models/", "models/tiny/", "models/acme-tuned/", "playground/", "keys/", "usage/", "usage/records/"),
    *("audit/", "audit/requests/", "audit/refusals/", "members/"),
)
MOST_QUERIES = 22
FEWER_QUERIES = {"usage/": 13, "usage/records/": 10}  # those over many rows


@pytest.fixture
def signed_in(cast: Cast, redis_client: redis.Redis) -> Client:
    """A browser of acme's owner; the tenant has a model and an adapter."""
    base = registry.model_register(name="tiny", actor="t", prompt_price=1_000_000, completion_price=2_000_000)
    registry.alias_set(name="tiny", aliases=["default"], actor="t")
    tuned_model = registry.model_register(name="acme-tuned", actor="t", visibility="restricted")
    registry.grant_set(name="acme-tuned", tenant_ids=[cast.acme.id], actor="t")
    Adapter.objects.create(
        model=tuned_model, base=base, sha256="a" * 64, rank=8, size_bytes=1000, tenant_id=cast.acme.id
    )
    client = Client()
    client.force_login(cast.owner)
    return client


def _page(client: Client, path: str, status: int = 200) -> str:
    response = client.get(f"/console/acme/{path}")
    assert response.status_code == status, path
    return response.content.decode()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_rendered_without_a_worker_and_without_records(signed_in: Client, path: str) -> None:
    assert "<h1>" in _page(signed_in, path)


def test_spend_against_limits_contains_what_open_jobs_reserve(signed_in: Client, cast: Cast) -> None:
    usage_at(cast.acme, timezone.now(), cost_microusd=2_000_000)
    assert "reserved by open jobs" not in _page(signed_in, "usage/")
    spend_reserve(source_id="job", tenant_id=cast.acme.id, key_id=None, amount=1_230_000)
    text = _page(signed_in, "usage/")
    assert text.count("$1.23 of it reserved by open jobs") == 2  # of the day and of the month
    assert text.count("$3.23 ") == 2


def _fill(cast: Cast, first: int, count: int) -> None:
    now = timezone.now()
    for number in range(first, first + count):
        account = service_account_create(tenant=cast.acme, name=f"program-{number}", actor="t")
        user = User.objects.create_user(f"person-{number}")
        membership_set(tenant=cast.acme, user=user, role="member", actor="t")
        for owner in ({"user": user}, {"service_account": account}):
            key, _ = key_create(tenant=cast.acme, name=f"k{number}", actor="t", **owner)
            usage_at(cast.acme, now, now - dt.timedelta(days=number), key=key, model=f"m{number}")
        registry.model_register(name=f"m{number}", actor="t")
        AuditRecord.objects.create(
            request_id=f"r{number}",
            correlation_id="c",
            tenant=cast.acme,
            key=key,
            endpoint="/v1/models",
            model="tiny",
            outcome="refused",
            status=429,
            error_code="rate_limit_exceeded",
            key_prefix=key.prefix,
            method="GET",
            duration_s=0.1,
            at=now,
        )


@pytest.mark.parametrize("path", PAGES)
def test_the_number_of_queries_is_bounded_and_does_not_grow_with_the_rows(
    signed_in: Client, cast: Cast, path: str, django_assert_max_num_queries: Any
) -> None:
    _fill(cast, first=0, count=2)
    with django_assert_max_num_queries(FEWER_QUERIES.get(path, MOST_QUERIES)) as few:
        _page(signed_in, path)
    _fill(cast, first=2, count=8)
    with django_assert_max_num_queries(len(few.captured_queries)):
        _page(signed_in, path)


def _job(cast: Cast, file_id: str) -> FineTuningJob:
    score = {"loss": 1.37, "perplexity": 3.94, "token_accuracy": 0.684}
    verification = {
        "tokens": 192,
        "adapter": {"largest": 0.00031, "mean": 0.00002},
        "tolerance": {"largest": 0.001, "mean": 0.0001},
    }
    base = {"loss": 2.41, "perplexity": 11.1, "token_accuracy": 0.512}
    return FineTuningJob.objects.create(
        id="ftjob-1",
        tenant=cast.acme,
        created_by="user:member",
        base_model="tiny",
        method="supervised",
        seed=1,
        training_file=file_id,
        status="succeeded",
        result={"evaluated_on": "validation", "base": base, "result": score, "verification": verification},
    )


def test_a_receipt_names_data_by_digest_and_repeats_the_job(signed_in: Client, cast: Cast) -> None:
    new = NewFile(filename="chats.jsonl", purpose=Purpose.USER_DATA)
    file = file_store(tenant_id=cast.acme.id, content=io.BytesIO(b"{}"), new=new, actor="t")
    job = _job(cast, file.id)
    page = _page(signed_in, f"jobs/{job.id}/receipt/")
    assert page.count(file.sha256) == 2  # in the table, and in the command that compares it
    assert f"/v1/files/{file.id}/content" in page
    assert "&quot;seed&quot;: 1" in page
    assert f"jobs/{job.id}/receipt/" in _page(signed_in, f"jobs/{job.id}/")
    FineTuningJob.objects.update(result=None)
    _page(signed_in, f"jobs/{job.id}/receipt/", status=404)


@pytest.mark.criterion("3.9")
def test_an_adapter_shows_its_lineage_and_proof_to_its_owner(signed_in: Client, cast: Cast) -> None:
    new = NewFile(filename="tone.jsonl", purpose=Purpose.USER_DATA)
    file = file_store(tenant_id=cast.acme.id, content=io.BytesIO(b"{}"), new=new, actor="t")
    job = _job(cast, file.id)
    Adapter.objects.update(job_id=job.id)
    page = _page(signed_in, "models/acme-tuned/")
    assert f"/console/acme/jobs/{job.id}/" in page
    assert f"/console/acme/files/{file.id}/" in page
    for figure in (
        "2.41",
        "1.37",
        "68.4 %",
        "51.2 %",
        "192 tokens",
        "3.1e-4",
        "Measured on the validation file",
    ):
        assert figure in page


def test_an_adapter_is_deleted_by_its_tenants_members_only(signed_in: Client, cast: Cast) -> None:
    Adapter.objects.update(tenant_id=cast.globex.id)
    assert signed_in.post("/console/acme/models/acme-tuned/").status_code == 403
    Adapter.objects.update(tenant_id=cast.acme.id)
    assert signed_in.post("/console/acme/models/tiny/").status_code == 403
    assert signed_in.post("/console/acme/models/acme-tuned/").status_code == 302
    assert not Adapter.objects.exists()
    _page(signed_in, "models/acme-tuned/", 404)


@pytest.mark.criterion("6.2")
def test_a_model_of_another_tenant_is_not_found(signed_in: Client, cast: Cast) -> None:
    registry.model_register(name="globex-only", actor="t", visibility="restricted")
    registry.grant_set(name="globex-only", tenant_ids=[cast.globex.id], actor="t")
    _page(signed_in, "models/globex-only/", 404)
    for path in ("models/", "playground/", "model-states/"):
        assert "globex-only" not in _page(signed_in, path)


def test_the_states_say_who_is_ready_and_who_answers_chats(
    signed_in: Client, redis_client: redis.Redis
) -> None:
    registry.model_register(name="embedder", actor="t")
    beat(redis_client, heartbeat("one"))
    beat(redis_client, heartbeat("two", models=("embedder",), operations=("embeddings",)))
    states = signed_in.get("/console/acme/model-states/").json()["models"]
    assert [(state["name"], state["ready"], state["chats"]) for state in states] == [
        ("acme-tuned", True, True),
        ("embedder", True, False),
        ("tiny", True, True),
    ]
    lose(redis_client, "one", seen_s=12)
    states = signed_in.get("/console/acme/model-states/").json()["models"]
    assert [state["state"] for state in states] == ["lost", "ready", "lost"]


def test_the_speed_of_a_model_is_that_of_the_tenants_own_requests(signed_in: Client, cast: Cast) -> None:
    times = {"first_token_s": 0.25, "total_s": 2.0, "engine_first_token_s": 0.2, "engine_total_s": 1.2}
    usage_at(cast.acme, *[timezone.now()] * 3, **times, completion_tokens=41)
    usage_at(cast.globex, timezone.now(), **{**times, "first_token_s": 9.0})
    page = _page(signed_in, "models/tiny/")
    for figure in ("250 ms", "2 s", "Median 40 tokens/s. Requests: 3, failed: 0."):
        assert figure in page
    assert "9 s" not in page


@pytest.mark.criterion("4.3", "4.9")
def test_operators_see_workers_queue_latency_and_errors_and_others_do_not_find_the_page(
    signed_in: Client, cast: Cast, redis_client: redis.Redis, settings: Any
) -> None:
    assert signed_in.get("/console/status/").status_code == 404
    beat(redis_client, heartbeat("gpu-1", running=3, waiting=7, kv_cache_use=0.873))
    beat(redis_client, heartbeat("gpu-2"))
    lose(redis_client, "gpu-2", seen_s=90)
    usage_at(cast.acme, timezone.now(), outcome="failed", error_code="engine_error")
    usage_at(cast.acme, timezone.now(), outcome="cancelled", error_code="client_disconnected")
    cast.owner.is_superuser = cast.owner.is_staff = True
    cast.owner.save()
    signed_in.force_login(cast.owner)
    page = signed_in.get("/console/status/").content.decode()
    for text in ("gpu-1", "gpu-2", "lost", "1 min 30 s ago", "87.3 %", "engine_error", "Postgres", "Redis"):
        assert text in page
    assert "client_disconnected" not in page
    disk = r'Disk</p><p><span class="badge (\w+)">'
    assert re.findall(disk, page) == ["good"]
    assert "iB free" in page
    settings.CYLLM = settings.CYLLM.model_copy(update={"min_free_disk_bytes": 2**60})
    assert re.findall(disk, signed_in.get("/console/status/").content.decode()) == ["bad"]
    assert "gpu-1" in signed_in.get("/console/status/part/").json()["html"]


@pytest.mark.criterion("6.6")
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_managers_export_the_trail_of_their_tenant_and_the_export_is_audited(
    signed_in: Client, cast: Cast, form: str
) -> None:
    values = {"trail": "changes", "format": form, "from": "2026-01-01"}
    response = signed_in.post("/console/acme/audit/export/", values)
    content = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    assert "membership.set" in content
    assert str(cast.globex.id) not in content
    assert "exported audit records" in _page(signed_in, "audit/")
    assert signed_in.post("/console/acme/audit/export/", values | {"from": "x"}).status_code == 400
    signed_in.force_login(cast.member)
    assert signed_in.post("/console/acme/audit/export/", values).status_code == 403


def test_a_damaged_trail_is_exported_only_if_that_is_chosen(signed_in: Client, cast: Cast) -> None:
    AuditRecord.objects.create(
        request_id="r",
        tenant=cast.acme,
        at=timezone.now(),
        endpoint="/v1/models",
        status=200,
        outcome="completed",
        duration_s=0.1,
    )
    audit_seal(Trail.REQUESTS)
    AuditRecord.objects.update(status=500)
    values = {"trail": "requests", "format": "jsonl", "from": "2026-01-01"}
    response = signed_in.post("/console/acme/audit/export/", values, follow=True)
    page = response.content.decode()
    assert "1 deviation found: requests records up to" in page
    assert "choose “Export despite deviations”" in page
    response = signed_in.post("/console/acme/audit/export/", values | {"accept_damage": "on"})
    content = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    assert '"fault": "a record was changed"' in content

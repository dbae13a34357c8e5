"""Usage, audit, refusals, jobs, models and workers through the administrative API."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from backoffice.request_ids import request_id
from inference_worker.protocol import codec, names
from inference_worker.registry.services import grant_set, model_register
from tenants.files.models import StoredFile
from tenants.models import AdminAudit, ApiKey, AuditRecord, Tenant, UsageRecord
from tenants.services import tenant_update
from tenants.usage.models import RefusalCount
from tests.admin_api.conftest import ApiClient, NewKey
from tests.heartbeats import ready_heartbeat
from tests.people import Cast
from tests.usage.records import usage_record
from training.choices import JobStatus
from training.jobs.services import job_insert
from training.models import FineTuningJob, JobCheckpoint
from training.requests.job_request import JobRequest

pytestmark = pytest.mark.django_db

NOON = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)


def add_usage(tenant: Tenant, number: int, **values: Any) -> UsageRecord:
    """Store a settled usage record, without cost unless one is given."""
    moment = values.pop("started_at", NOON + dt.timedelta(minutes=number))
    key = ApiKey.objects.get(tenant=tenant, name=tenant.slug)
    columns = {"request_id": f"req_{tenant.slug}_{number}", "model": "m", "cost_microusd": 0, **values}
    return usage_record(moment, tenant=tenant, key=key, **columns)


def test_usage_is_summed_by_model_and_day_within_the_tenant(owner: ApiClient, cast: Cast) -> None:
    add_usage(cast.acme, 1, cost_microusd=7)
    add_usage(cast.acme, 2, model="n", cost_microusd=9, started_at=NOON + dt.timedelta(days=1))
    add_usage(cast.globex, 3, cost_microusd=100)
    period = "since=2026-03-10T00:00:00Z&until=2026-03-12T00:00:00Z"
    total = owner("GET", f"tenants/acme/usage?{period}").body["data"]
    assert [(row["group"], row["requests"], row["cost_microusd"]) for row in total] == [(None, 2, 16)]
    by_model = owner("GET", f"tenants/acme/usage?by=model&{period}").body["data"]
    assert [(row["group"], row["cost_microusd"]) for row in by_model] == [("n", 9), ("m", 7)]
    by_day = owner("GET", f"tenants/acme/usage?by=day&tz=Asia/Kolkata&{period}").body["data"]
    assert [(row["group"], row["prompt_tokens"]) for row in by_day] == [
        ("2026-03-10", 10),
        ("2026-03-11", 10),
    ]
    prefix = cast.acme_key.split("-")[2]
    by_key = owner("GET", f"tenants/acme/usage?by=key&{period}").body["data"]
    assert [(row["group"], row["requests"]) for row in by_key] == [(prefix, 2)]


def test_usage_is_summed_by_several_dimensions(owner: ApiClient, cast: Cast) -> None:
    for number, (model, days) in enumerate((("m", 0), ("n", 0), ("m", 1), ("m", 1))):
        started_at = NOON + dt.timedelta(days=days, seconds=number)
        add_usage(cast.acme, number, model=model, cost_microusd=10 + number, started_at=started_at)
    rows = owner("GET", "tenants/acme/usage?by=day,model&since=2026-03-10&until=2026-03-11").body["data"]
    assert [(row["groups"], row["cost_microusd"], row["group"]) for row in rows] == [
        ({"day": "2026-03-10", "model": "n"}, 11, None),
        ({"day": "2026-03-10", "model": "m"}, 10, None),
        ({"day": "2026-03-11", "model": "m"}, 25, None),
    ]


@pytest.mark.parametrize(
    ("query", "since", "until"),
    [
        ("since=2026-03-10&until=2026-03-11", "2026-03-10T00:00:00Z", "2026-03-12T00:00:00Z"),
        ("since=20260310&until=2026-W11-3", "2026-03-10T00:00:00Z", "2026-03-12T00:00:00Z"),
        ("since=2026-03-10&until=2026-03-10&tz=Asia/Kolkata", "2026-03-09T18:30:00Z", "2026-03-10T18:30:00Z"),
        (
            "since=2026-03-29&until=2026-03-29&tz=Europe/Berlin",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        ),
        (
            "since=2026-03-10T09:30&until=2026-03-10T10:30:00%2B05:30&tz=Asia/Kolkata",
            *("2026-03-10T04:00:00Z", "2026-03-10T05:00:00Z"),
        ),
        ("since=2026-03-10&until=2030-12-31", "2026-03-10T00:00:00Z", "2031-01-01T00:00:00Z"),
    ],
)
def test_periods_are_dates_or_times(owner: ApiClient, query: str, since: str, until: str) -> None:
    body = owner("GET", f"tenants/acme/usage?{query}").body
    assert (body["since"], body["until"]) == (since, until)


def test_an_end_in_the_future_begins_with_the_last_thirty_days(owner: ApiClient, cast: Cast) -> None:
    now = timezone.now()
    add_usage(cast.acme, 1, started_at=now - dt.timedelta(days=1))
    end = (now + dt.timedelta(days=300)).date().isoformat()
    answer = owner("GET", f"tenants/acme/usage?until={end}").body
    assert answer["data"][0]["requests"] == 1


@pytest.mark.parametrize("records", ["usage/records", "audit/requests", "audit/changes", "refusals"])
def test_lists_accept_dates_in_a_zone_and_say_what_they_expect(owner: ApiClient, records: str) -> None:
    period = "since=2026-03-01&until=2036-03-01&tz=Asia/Kolkata"
    assert owner("GET", f"tenants/acme/{records}?{period}").status == 200
    assert owner("GET", f"tenants/acme/{records}?tz=Mars").error == (400, "invalid_value", "tz")
    refusal = owner("GET", f"tenants/acme/{records}?since=yesterday")
    assert (
        "'yesterday' is not a date such as 2026-03-01 or a time such as" in refusal.body["error"]["message"]
    )
    refusal = owner("GET", f"tenants/acme/{records}?until=2026-03-01T09:30:00+01:00")
    assert "in an address, write + as %2B" in refusal.body["error"]["message"]


def test_a_date_selects_the_records_of_its_day_in_the_zone(owner: ApiClient, cast: Cast) -> None:
    for number, hour in enumerate((18, 19)):  # 23:30 and 00:30 in Kolkata
        add_usage(cast.acme, number, started_at=NOON.replace(hour=hour))
    for day, request_ids in (("2026-03-10", ["req_acme_0"]), ("2026-03-11", ["req_acme_1"])):
        rows = owner("GET", f"tenants/acme/usage/records?since={day}&until={day}&tz=Asia/Kolkata").body[
            "data"
        ]
        assert [row["request_id"] for row in rows] == request_ids


def test_operators_sum_usage_by_tenant(operator: ApiClient, cast: Cast) -> None:
    add_usage(cast.acme, 1, cost_microusd=7)
    add_usage(cast.globex, 2, cost_microusd=100)
    rows = operator("GET", "usage?by=tenant&since=2026-03-10T00:00:00Z&until=2026-03-11T00:00:00Z").body
    assert [(row["group"], row["cost_microusd"]) for row in rows["data"]] == [("globex", 100), ("acme", 7)]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("since=2026-03-10T00:01:00Z", "since"),
        ("since=2026-03-10T00:00:00Z&until=2026-03-10T00:00:00Z", "until"),
        ("tz=Mars/Olympus", "tz"),
        ("tz=../etc/passwd", "tz"),
        ("since=0001-01-01T00:00:00Z", "since"),
        ("since=0001-01-01T00:00:00%2B14:00", "since"),
        ("until=9999-12-31T23:45:00-14:00", "until"),
        ("until=9999-12-31T23:45:00Z&tz=Pacific/Kiritimati", "until"),
        ("until=0001-01-02T00:00:00Z", "until"),
        ("by=colour", "by"),
        ("by=model,colour", "by"),
        ("by=day,hour", "by"),
        ("by=", "by"),
        ("since=1", "since"),
        ("until=9999-12-31", "until"),
        ("since=9000-01-01", "since"),
    ],
)
def test_faulty_periods_are_refused_by_name(owner: ApiClient, query: str, param: str) -> None:
    answer = owner("GET", f"tenants/acme/usage?{query}")
    assert (answer.status, answer.body["error"]["param"]) == (400, param)


@pytest.mark.parametrize("records", ["usage/records", "audit/requests", "audit/changes", "refusals"])
@pytest.mark.parametrize(
    ("query", "param"),
    [("since=0001-01-01T00:00:00%2B14:00", "since"), ("cursor=W251bGwsbnVsbF0", "cursor")],
)
def test_lists_refuse_times_and_cursors_that_no_record_has(
    owner: ApiClient, records: str, query: str, param: str
) -> None:
    answer = owner("GET", f"tenants/acme/{records}?{query}")
    assert answer.error == (400, "invalid_value", param)


def test_usage_records_are_filtered_and_paged_newest_first(owner: ApiClient, cast: Cast) -> None:
    for number in range(5):
        add_usage(cast.acme, number, model="even" if number % 2 == 0 else "odd")
    add_usage(cast.globex, 9)
    first = owner("GET", "tenants/acme/usage/records?limit=2").body
    second = owner("GET", f"tenants/acme/usage/records?limit=2&cursor={first['next_cursor']}").body
    ids = [row["request_id"] for row in first["data"] + second["data"]]
    assert ids == ["req_acme_4", "req_acme_3", "req_acme_2", "req_acme_1"]
    odd = owner("GET", "tenants/acme/usage/records?model=odd").body["data"]
    assert [row["request_id"] for row in odd] == ["req_acme_3", "req_acme_1"]
    assert owner("GET", "tenants/acme/usage/records?key=abcdefabcdef").body["data"] == []
    since = (NOON + dt.timedelta(minutes=4)).isoformat().replace("+", "%2B")
    assert len(owner("GET", f"tenants/acme/usage/records?since={since}").body["data"]) == 1


def test_audited_requests_and_changes_are_the_tenants_own(
    owner: ApiClient, operator: ApiClient, cast: Cast
) -> None:
    for tenant, code in ((cast.acme, "rate_limit_exceeded"), (cast.acme, ""), (cast.globex, ""), (None, "")):
        AuditRecord.objects.create(
            request_id=f"req_{AuditRecord.objects.count()}",
            correlation_id="c",
            tenant=tenant,
            endpoint="/v1/models",
            model="",
            outcome="refused" if code else "completed",
            error_code=code,
            error_param="messages" if code else "",
            key_prefix="abcdefabcdef" if code else "",
            method="GET",
            duration_s=0.1,
            at=NOON,
        )
    rows = owner("GET", "tenants/acme/audit/requests?outcome=refused").body["data"]
    assert [row["error_code"] for row in rows] == ["rate_limit_exceeded"]
    of_key = owner("GET", "tenants/acme/audit/requests?key=abcdefabcdef").body["data"]
    assert [row["error_param"] for row in of_key] == ["messages"]
    assert len(operator("GET", "audit/requests").body["data"]) == 4
    changes = owner("GET", "tenants/acme/audit/changes?limit=100").body["data"]
    assert {change["tenant"] for change in changes} == {"acme"}
    assert len(changes) == AdminAudit.objects.filter(tenant_id=cast.acme.pk).count()
    one = owner("GET", "tenants/acme/audit/changes?action=key.create").body["data"]
    assert [change["actor"] for change in one] == ["tests"]
    token = request_id.set("req_of_a_change")
    tenant_update(tenant_id=cast.acme.pk, name="Acme Ltd", actor="tests")
    request_id.reset(token)
    (recorded_change,) = owner("GET", "tenants/acme/audit/changes?request_id=req_of_a_change").body["data"]
    assert (recorded_change["action"], recorded_change["request_id"]) == ("tenant.update", "req_of_a_change")


def test_refusals_are_counted(owner: ApiClient, cast: Cast) -> None:
    for tenant in (cast.acme, cast.globex):
        RefusalCount.objects.create(
            fact_id=tenant.slug,
            minute_at=NOON,
            gateway_id="g",
            tenant=tenant,
            endpoint="/v1/chat/completions",
            error_code="rate_limit_exceeded",
            status=429,
            requests=40,
        )
    rows = owner("GET", "tenants/acme/refusals").body["data"]
    assert [(row["tenant"], row["requests"]) for row in rows] == [("acme", 40)]
    add_usage(cast.acme, 1, outcome="refused")  # by the engine, after admission
    (total,) = owner("GET", "tenants/acme/usage?since=2026-03-10&until=2026-03-10").body["data"]
    assert (total["requests"], total["refused"]) == (1, 1)


def job(cast: Cast) -> FineTuningJob:
    """Return a new job of acme."""
    request = JobRequest(base_model="base", method="supervised", training_file="file-1")
    return job_insert(request, tenant=cast.acme, actor="tests")


def test_jobs_are_paused_resumed_and_cancelled(member: ApiClient, with_key: NewKey, cast: Cast) -> None:
    path = f"tenants/acme/jobs/{job(cast).id}"
    assert member("GET", path).body["status"] == "validating_files"
    assert member("POST", f"{path}/pause").body["status"] == "paused"
    assert member("POST", f"{path}/resume").body["status"] == "validating_files"
    assert with_key("admin")("POST", f"{path}/cancel").body["status"] == "cancelled"
    assert member("POST", f"{path}/pause").error[:2] == (400, "invalid_job_state")
    FineTuningJob.objects.update(status=JobStatus.FAILED, error_code="disk_full")
    with override_settings(CYLLM=settings.CYLLM.model_copy(update={"training_open_jobs": 0})):
        assert member("POST", f"{path}/resume").error[:2] == (429, "too_many_jobs")
    StoredFile.objects.create(
        id="file-1", tenant=cast.acme, filename="a.jsonl", purpose="fine-tune", size_bytes=9, sha256="0" * 64
    )
    tenant_update(tenant_id=cast.acme.pk, actor="tests", spend_per_month_microusd=0)
    assert member("POST", f"{path}/resume").error[:2] == (429, "insufficient_quota")
    FineTuningJob.objects.update(status=JobStatus.CANCELLED)
    jobs = member("GET", "tenants/acme/jobs?status=cancelled").body["data"]
    assert [row["id"] for row in jobs] == [path.rsplit("/", 1)[1]]
    actors = AdminAudit.objects.filter(action="job.cancel").values_list("actor", flat=True)
    assert [actor.split(":")[0] for actor in actors] == ["key"]


def test_a_checkpoint_is_published_by_its_id(member: ApiClient, operator: ApiClient, cast: Cast) -> None:
    model_register(name="base", actor="tests")
    source = job(cast)
    for step in (1, 2, 3):
        JobCheckpoint.objects.create(id=f"ftckpt_{step}", job=source, step=step, folder="f")
    FineTuningJob.objects.update(status=JobStatus.SUCCEEDED)
    path = f"tenants/acme/jobs/{source.id}/checkpoints"
    rows = member("GET", f"{path}?limit=2").body
    assert [(row["id"], row["state"]) for row in rows["data"]] == [
        ("ftckpt_3", "publishable"),
        ("ftckpt_2", "publishable"),
    ]
    [last] = member("GET", f"{path}?limit=2&cursor={rows['next_cursor']}").body["data"]
    assert (last["id"], last["state"]) == ("ftckpt_1", "removed")
    assert member("POST", f"{path}/ftckpt_1/publish").error[:2] == (400, "checkpoint_not_publishable")
    assert member("POST", f"{path}/ftckpt_4/publish").error[:2] == (404, "object_not_found")
    token = request_id.set("req_of_a_publication")
    publication = member("POST", f"{path}/ftckpt_3/publish").body
    request_id.reset(token)
    assert publication["status"] == "queued"
    publication_job = FineTuningJob.objects.get(id=publication["id"])
    assert publication_job.source_checkpoint_id == "ftckpt_3"
    assert publication_job.correlation_id == "req_of_a_publication"
    assert operator("POST", f"{path}/ftckpt_3/publish").body["id"] == publication["id"]
    with override_settings(CYLLM=settings.CYLLM.model_copy(update={"training_open_jobs": 0})):
        assert member("POST", f"{path}/ftckpt_2/publish").error[:2] == (429, "too_many_jobs")


def test_an_operator_registers_and_changes_a_model(operator: ApiClient, redis_client: Any) -> None:
    body = {
        "name": "org/model",
        "aliases": ["model"],
        "visibility": "restricted",
        "granted_to": ["acme"],
        "prices": {"prompt": 150_000, "completion": 600_000},
    }
    creation = operator("POST", "models", body)
    assert creation.status == 201
    prices = {"prompt": 150_000, "cached": None, "completion": 600_000, "training": 0}
    assert (creation.body["prices"], creation.body["granted_to"]) == (prices, ["acme"])
    assert (creation.body["readiness"]["state"], creation.body["readiness"]["workers"]) == ("no_worker", [])
    assert operator("POST", "models", {"name": "org/model"}).error == (400, "invalid_value", "name")
    update_reply = operator(
        "PATCH", "models/org/model", {"prices": {"cached": 15_000}, "aliases": []}, if_match=creation.etag
    )
    assert update_reply.body["prices"] == prices | {"cached": 15_000}
    assert (update_reply.body["aliases"], update_reply.body["granted_to"]) == ([], ["acme"])
    stale = operator("PATCH", "models/org/model", {"enabled": False}, if_match=creation.etag)
    assert stale.error[:2] == (412, "precondition_failed")
    unknown = operator("PATCH", "models/org/model", {"granted_to": ["acme", "no"]}, if_match="*")
    assert unknown.error == (400, "invalid_value", "granted_to[1]")
    assert operator("DELETE", "models/org/model").body == {
        "object": "model",
        "id": "org/model",
        "deleted": True,
    }
    assert operator("GET", "models/org/model").error[:2] == (404, "object_not_found")


def test_tenants_see_the_models_that_they_may_use(owner: ApiClient, cast: Cast, redis_client: Any) -> None:
    model_register(name="public", actor="tests", source="/secret/folder")
    for name, tenant in (("ours", cast.acme), ("theirs", cast.globex)):
        model_register(name=name, actor="tests", visibility="restricted")
        grant_set(name=name, tenant_ids=[tenant.pk], actor="tests")
    models = {model["name"]: model for model in owner("GET", "models").body["data"]}
    assert sorted(models) == ["ours", "public"]
    assert (models["ours"]["granted_to"], models["public"]["source"]) == (["acme"], None)
    assert owner("GET", "models/theirs").error[:2] == (404, "object_not_found")


@pytest.mark.case("admin.3")
def test_workers_show_their_load_and_only_the_models_of_the_caller(
    owner: ApiClient, operator: ApiClient, cast: Cast, redis_client: Any
) -> None:
    model_register(name="public", actor="tests")
    model_register(name="theirs", actor="tests", visibility="restricted")
    written_at = timezone.now().timestamp()
    heartbeat = ready_heartbeat(
        "public", "theirs", worker_id="w1", running=3, waiting=2, written_at=written_at
    )
    data = codec.encode(heartbeat)
    redis_client.zadd(names.WORKER_INDEX, {"w1": 1})
    redis_client.set(names.worker_key("w1"), data, ex=60)
    redis_client.set(names.last_seen_key("w1"), data, ex=int(names.LAST_SEEN_EXPIRY_S))
    (worker,) = operator("GET", "workers").body["data"]
    assert (worker["status"], worker["running"], worker["waiting"]) == ("ready", 3, 2)
    assert worker["models"] == ["public", "theirs"]
    assert owner("GET", "workers").body["data"][0]["models"] == ["public"]
    assert operator("GET", "models/theirs").body["readiness"] == {
        "state": "ready",
        "reason": "Served by 1 worker.",
        "workers": ["w1"],
    }
    redis_client.delete(names.worker_key("w1"))
    assert operator("GET", "workers").body["data"][0]["status"] == "lost"
    assert operator("GET", "models/public").body["readiness"]["state"] == "lost"


def test_without_redis_models_are_listed_and_workers_are_unavailable(
    operator: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    def fail(_: str) -> None:
        raise redis.ConnectionError("refused")

    monkeypatch.setattr("inference_worker.registry.worker_sightings.worker_sightings", fail)
    model_register(name="m", actor="tests")
    assert operator("GET", "models").body["data"][0]["readiness"]["state"] == "unknown"
    answer = operator("GET", "workers")
    assert answer.error[:2] == (503, "redis_unavailable")
    assert "Retry-After" in answer.headers

"""A site with rows of every kind and plausible names, for pages that people or axe look at."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.console.harness.jobs import (
    checkpoint,
    evaluate,
    job_with_steps,
    running_token,
    start_attempt,
    write_steps,
)

if TYPE_CHECKING:  # importable before Django is set up
    from django.contrib.auth.models import User

    from tenants.files.models import StoredFile
    from tenants.models import ApiKey, Tenant
    from training.models import FineTuningJob

BASE_MODEL = "qwen3-0.6b"
ADAPTER = f"ft:{BASE_MODEL}:acme:support-tone"
MODELS = {BASE_MODEL: (250_000, 1_000_000), "llama-3.2-1b": (400_000, 1_600_000), "embed-small": (20_000, 0)}
QUESTIONS = ("My parcel has not arrived.", "How do I return a pair of shoes?", "Can I pay by invoice?")
ANSWER = "Sorry about that! Please send us your order number, and we will look into it at once."
RESUMED_AFTER = 100


@dataclass(frozen=True)
class SampleSite:
    """Ids of the rows that have pages of their own."""

    job_id: str
    finished_job_id: str
    file_id: str
    key_id: str
    request_id: str


def fill_site(tenant: Tenant, operator: User) -> SampleSite:
    """Insert models, people, keys, files, jobs, usage and records of a tenant and its operator."""
    _add_models(tenant)
    people = _add_people(tenant, operator)
    keys = _add_keys(tenant, people)
    file = _add_file(tenant)
    job, finished_job = _running_job(tenant, file), _finished_job(tenant, file)
    _add_other_jobs(tenant, file)
    _add_usage(tenant, keys)
    _add_requests(tenant, keys[0])
    _add_refusals(tenant, keys[0])
    _add_stored_response(tenant)
    return SampleSite(job.id, finished_job.id, file.id, str(keys[0].id), "req-refused-1")


def _add_models(tenant: Tenant) -> None:
    from inference_worker.registry import archives
    from inference_worker.registry.adapter_services import NewAdapter, adapter_register
    from inference_worker.registry.services import alias_set, model_register

    for name, (prompt_price, completion_price) in MODELS.items():
        model_register(
            name=name,
            actor="cli:install",
            prompt_price=prompt_price,
            completion_price=completion_price,
            training_price=3_000_000,
        )
    alias_set(name=BASE_MODEL, aliases=["default"], actor="cli:install")
    archive = b"adapter weights"
    digest = hashlib.sha256(archive).hexdigest()
    archives.archive_save(digest, io.BytesIO(archive))
    adapter = NewAdapter(
        name=ADAPTER,
        base=BASE_MODEL,
        sha256=digest,
        rank=16,
        size_bytes=18_874_368,
        tenant_id=tenant.id,
        owned_by=tenant.slug,
    )
    adapter_register(adapter, actor="training:trainer-1")


def _add_people(tenant: Tenant, operator: User) -> list[User]:
    from django.contrib.auth.models import User

    from tenants.members.services import membership_set
    from tenants.services import tenant_update
    from training.jobs.policies import policy_set

    membership_set(tenant=tenant, user=operator, role="owner", actor="cli:install")
    people = [operator]
    for name, role in (("maria", "admin"), ("wei", "member"), ("auditor", "viewer")):
        person = User.objects.create_user(name, email=f"{name}@acme.example")
        membership_set(tenant=tenant, user=person, role=role, actor="user:owner")
        people.append(person)
    tenant_update(
        tenant_id=tenant.id,
        actor="user:owner",
        requests_per_minute=1200,
        spend_per_month_microusd=800_000_000,
    )
    policy_set(tenant=tenant, allows_preemption=True, max_running_jobs=4, actor="user:owner")
    return people


def _add_keys(tenant: Tenant, people: list[User]) -> list[ApiKey]:
    from tenants.keys.services import key_create, key_revoke, key_update
    from tenants.members.services import service_account_create

    account = service_account_create(tenant=tenant, name="nightly-summaries", actor="user:owner")
    keys = [
        key_create(tenant=tenant, name="support chat", user=people[1], actor="user:maria")[0],
        key_create(tenant=tenant, name="laptop", user=people[2], actor="user:wei")[0],
        key_create(tenant=tenant, name="summaries", service_account=account, actor="user:owner")[0],
    ]
    key_update(key_id=keys[2].id, actor="user:owner", scopes=["inference", "files"], requests_per_minute=60)
    old, _ = key_create(tenant=tenant, name="trial", user=people[0], actor="user:owner")
    key_revoke(key_id=old.id, actor="user:owner")
    return keys


def _example(number: int) -> dict[str, Any]:
    question = f"{QUESTIONS[number % len(QUESTIONS)]} (order {1000 + number})"
    roles = (("system", "You answer for the shop."), ("user", question), ("assistant", ANSWER))
    return {"messages": [{"role": role, "content": content} for role, content in roles]}


def _add_file(tenant: Tenant) -> StoredFile:
    from tenants.files.creation import NewFile, file_store
    from tenants.files.models import Purpose

    content = "".join(json.dumps(_example(number)) + "\n" for number in range(120)).encode()
    new = NewFile(filename="support-chats.jsonl", purpose=Purpose.FINE_TUNE)
    return file_store(tenant_id=tenant.id, content=io.BytesIO(content), new=new, actor="user:maria")


def _running_job(tenant: Tenant, file: StoredFile) -> FineTuningJob:
    """Return a job that was resumed after the loss of its worker, with one step whose loss is NaN."""
    from training.datasets.tokens.sample_lines import pack_lines
    from training.jobs.failures import Failure
    from training.models import FineTuningJob
    from training.queue.endings import attempt_fail

    job = job_with_steps(
        tenant, 0, runs=False, base_model=BASE_MODEL, suffix="support-tone", training_file=file.id
    )
    FineTuningJob.objects.filter(id=job.id).update(resolved={"batch_size": 4})
    start_attempt(job, 0, sample_lines=pack_lines(list(range(1, 121))))
    for step, loss in ((25, 2.2), (50, 1.7), (75, 1.5), (RESUMED_AFTER, 1.44)):
        write_steps(job, step - 24, step)
        evaluate(job, step, loss, is_best=True)
        checkpoint(job, step, loss, is_best=True)
    write_steps(job, RESUMED_AFTER + 1, RESUMED_AFTER + 10)
    failure = Failure(code="worker_lost", message="The worker stopped.", is_transient=True)
    attempt_fail(running_token(job), failure)
    start_attempt(job, RESUMED_AFTER)
    write_steps(job, RESUMED_AFTER + 1, 140, elapsed_from=50)
    write_steps(job, 141, 141, elapsed_from=50, loss=float("nan"), grad_norm=float("nan"))
    write_steps(job, 142, 160, elapsed_from=50)
    return job


def _finished_job(tenant: Tenant, file: StoredFile) -> FineTuningJob:
    """Return a job whose result was scored and published."""
    from django.utils import timezone

    from training.models import FineTuningJob

    job = job_with_steps(tenant, 200, base_model=BASE_MODEL, suffix="polite-replies", training_file=file.id)
    for step, loss in ((100, 1.6), (200, 1.3)):
        evaluate(job, step, loss, is_best=True)
        checkpoint(job, step, loss, is_best=True)
    scores = [
        {"loss": loss, "perplexity": perplexity, "token_accuracy": accuracy}
        for loss, perplexity, accuracy in ((2.31, 10.1, 0.52), (1.3, 3.67, 0.69))
    ]
    FineTuningJob.objects.filter(id=job.id).update(
        status="succeeded",
        phase="",
        finished_at=timezone.now(),
        fine_tuned_model=ADAPTER,
        resolved={"learning_rate": 2e-4, "n_epochs": 3, "batch_size": 4},
        result={"evaluated_on": "validation", "base": scores[0], "result": scores[1]},
    )
    job.attempts.update(outcome="succeeded", ended_at=timezone.now())
    return job


def _add_other_jobs(tenant: Tenant, file: StoredFile) -> None:
    from django.utils import timezone

    from training.jobs.services import job_cancel
    from training.models import FineTuningJob

    values: dict[str, Any] = {"base_model": BASE_MODEL, "training_file": file.id}
    job_with_steps(tenant, 60, suffix="sql-assistant", **values)
    jobs = [
        job_with_steps(tenant, 0, runs=False, suffix=f"nightly-{number}", **values) for number in range(4)
    ]
    job_cancel(job_id=jobs[2].id, actor="user:wei")
    FineTuningJob.objects.filter(id=jobs[3].id).update(
        status="failed",
        finished_at=timezone.now(),
        error_code="disk_full",
        error_message="The disk of the training worker is full. Free some space, then resume the job.",
    )


def _add_usage(tenant: Tenant, keys: list[ApiKey]) -> None:
    from django.utils import timezone

    from tests.usage.records import usage_at

    now = timezone.now()
    for day in range(14):
        for number in range(6 + day * 5 % 7):
            moment = now - dt.timedelta(days=day, minutes=9 + 17 * number)
            usage_at(
                tenant,
                moment,
                key=keys[number % len(keys)],
                model=(BASE_MODEL, "llama-3.2-1b")[number % 2],
                prompt_tokens=900 + 37 * number,
                completion_tokens=250 + 11 * number,
                cost_microusd=380_000 + 9_000 * number,
                outcome="failed" if number == 7 else "completed",
                first_token_s=0.14 + number / 100,
                engine_first_token_s=0.12,
                engine_total_s=2.6,
                total_s=2.7,
            )


def _add_requests(tenant: Tenant, key: ApiKey) -> None:
    from django.utils import timezone

    from tenants.models import AuditRecord

    now = timezone.now()
    for number in range(8):
        is_refused = number % 4 == 1
        AuditRecord.objects.create(
            request_id=f"req-refused-{number}" if is_refused else f"req-{number}",
            correlation_id=f"order-{1000 + number}",
            tenant=tenant,
            key=key,
            key_prefix=key.prefix,
            client_ip="192.0.2.17",
            endpoint="/v1/chat/completions",
            model=BASE_MODEL,
            requested_model="default",
            outcome="refused" if is_refused else "completed",
            status=429 if is_refused else 200,
            error_code="rate_limit_exceeded" if is_refused else "",
            method="POST",
            duration_s=0.02 if is_refused else 2.7,
            at=now - dt.timedelta(minutes=7 * number),
        )


def _add_refusals(tenant: Tenant, key: ApiKey) -> None:
    from django.utils import timezone

    from tenants.usage.models import RefusalCount

    RefusalCount.objects.create(
        fact_id="refusals-1",
        minute_at=timezone.now().replace(second=0, microsecond=0),
        gateway_id="gateway-1",
        tenant=tenant,
        key=key,
        key_prefix=key.prefix,
        client_network="192.0.2.0/24",
        endpoint="/v1/chat/completions",
        error_code="rate_limit_exceeded",
        status=429,
        requests=40,
    )


def _add_stored_response(tenant: Tenant) -> None:
    from django.utils import timezone

    from api.stored_responses.services import NewResponse, response_create

    now = timezone.now()
    output = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text"}]}
    response_create(
        NewResponse(
            id="resp_1",
            tenant_id=str(tenant.id),
            model=BASE_MODEL,
            body={"id": "resp_1", "status": "completed", "output": [output]},
            input_items=[{"type": "message", "id": "msg_0", "role": "user", "content": QUESTIONS[0]}],
            previous_response_id=None,
            background=False,
            gateway_id="gateway-1",
            created_at=now,
            expires_at=now + dt.timedelta(days=30),
        )
    )

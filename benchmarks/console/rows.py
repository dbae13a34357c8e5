"""Rows of one tenant that fill the console's pages: usage, requests, jobs with events, files and keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importable before Django is set up
    from django.contrib.auth.models import User

    from tenants.models import Tenant

KEYS = 20
MODELS = 4
DAYS = 30
METRICS_PER_JOB = 60
LONG_JOB_STEPS = 3600
JOB_ID = "ftjob-000001"

USAGE = """
    INSERT INTO tenants_usagerecord (request_id, correlation_id, tenant_id, key_id, endpoint, model, outcome,
        error_code, gateway_id, worker_id, streamed, state, status, meter_source, prompt_tokens,
        completion_tokens, cached_tokens, is_charged, prompt_price, cached_price, completion_price,
        trained_tokens, training_price, cost_microusd, reserved_tokens, reserved_microusd, wasted_tokens,
        first_token_s, total_s, attempts, started_at, settled_at, updated_at)
    SELECT 'req-' || n, 'c-' || n, %(tenant)s, (%(keys)s::uuid[])[1 + n %% %(key_count)s],
        '/v1/chat/completions', 'model-' || n %% %(models)s,
        CASE WHEN n %% 50 = 0 THEN 'failed' ELSE 'completed' END, '', 'gw', 'worker-1', true, 'settled', 200,
        'worker', 100 + n %% 900, 50, 10, true, 1, 1, 1, 0, 0, 120, 0, 0, 0, 0.1 + n %% 7 / 10.0,
        1 + n %% 5, '{}', now() - n * %(apart)s, now(), now()
    FROM generate_series(1, %(rows)s) n
"""
REQUESTS = """
    INSERT INTO tenants_auditrecord (request_id, correlation_id, tenant_id, key_prefix, method, endpoint,
        model, outcome, error_code, status, duration_s, at, requested_model, error_param)
    SELECT 'req-' || n, 'c-' || n, %(tenant)s, 'abcdefghijkl', 'POST', '/v1/chat/completions',
        'model-1', 'completed', '', 200, 1.0, now() - n * %(apart)s, '', ''
    FROM generate_series(1, %(rows)s) n
"""
EVENTS = """
    INSERT INTO training_jobevent (job_id, number, at, level, type, message, data)
    SELECT job.id, n, job.created_at + n * interval '2 seconds', 'info',
        CASE WHEN n %% 10 = 5 THEN 'message' ELSE 'metrics' END, 'Step ' || n,
        CASE WHEN n %% 10 = 5 THEN '{}'::jsonb
            WHEN n %% 20 = 0
            THEN jsonb_build_object('step', n, 'valid_loss', 2 + 1.0 / n, 'is_best', true)
            ELSE jsonb_build_object('step', n, 'total_steps', job.next_event, 'train_loss', 2 + 1.0 / n,
                'learning_rate', 0.0002, 'grad_norm', 1.1, 'tokens_per_s', 1200, 'trained_tokens', n * 1000,
                'elapsed_s', n * 2, 'train_mean_token_accuracy', 0.5) END
    FROM training_finetuningjob job, generate_series(1, job.next_event - 1) n
"""


@dataclass(frozen=True)
class SampleTenant:
    """The tenant that owns all rows. Its owner is an operator as well; ``key_id`` is one of its keys."""

    tenant: Tenant
    owner: User
    key_id: str


def fill(rows: int, jobs: int) -> SampleTenant:
    """Insert ``rows`` requests of the last 30 days, and ``jobs`` jobs."""
    from django.contrib.auth.models import User
    from django.db import connection

    from inference_worker.registry.services import model_register
    from tenants.keys.services import key_create
    from tenants.members.services import membership_set
    from tenants.services import tenant_create

    tenant = tenant_create(slug="acme", name="Acme", actor="benchmark")
    owner = User.objects.create_superuser("owner")
    membership_set(tenant=tenant, user=owner, role="owner", actor="benchmark")
    keys = [
        key_create(tenant=tenant, name=f"key {number}", user=owner, actor="benchmark")[0]
        for number in range(KEYS)
    ]
    for number in range(MODELS):
        model_register(name=f"model-{number}", actor="benchmark")
    values: dict[str, Any] = {
        "tenant": tenant.id,
        "keys": [str(key.id) for key in keys],
        "key_count": KEYS,
        "models": MODELS,
        "rows": rows,
        "apart": f"{DAYS * 86400 / rows} seconds",
    }
    _insert_jobs(tenant, jobs)
    _insert_files(tenant, jobs)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        for statement in (USAGE, REQUESTS, EVENTS):
            cursor.execute(statement.replace("%(apart)s", "%(apart)s::interval"), values)
        cursor.execute("ANALYZE")
    return SampleTenant(tenant, owner, str(keys[0].id))


def _insert_jobs(tenant: Tenant, count: int) -> None:
    """Insert jobs, most of them ended; the first one is long."""
    import datetime as dt

    from django.utils import timezone

    from training.models import FineTuningJob

    now = timezone.now()
    statuses = ["succeeded"] * 7 + ["failed", "cancelled", "queued"]
    FineTuningJob.objects.bulk_create(
        FineTuningJob(
            id=f"ftjob-{number:06d}",
            tenant=tenant,
            created_by=f"user:person-{number % 9}",
            base_model=f"model-{number % MODELS}",
            suffix=f"try-{number}",
            method="supervised",
            seed=1,
            training_file=f"file-{number:06d}",
            status="running" if number < 3 else statuses[number % 10],
            created_at=now - dt.timedelta(minutes=number),
            queued_at=now,
            step=METRICS_PER_JOB,
            total_steps=METRICS_PER_JOB,
            next_event=1 + (LONG_JOB_STEPS if number == 1 else METRICS_PER_JOB),
            report={"examples": 100, "format": "chat"},
        )
        for number in range(1, count + 1)
    )


def _insert_files(tenant: Tenant, count: int) -> None:
    """Insert the training file of each job."""
    from tenants.files.models import StoredFile

    StoredFile.objects.bulk_create(
        StoredFile(
            id=f"file-{number:06d}",
            tenant=tenant,
            filename=f"chats-{number}.jsonl",
            purpose="fine-tune",
            size_bytes=1000,
            sha256="0" * 64,
            storage_name=f"{number}",
            dataset_report={"examples": 100, "format": "chat"},
        )
        for number in range(1, count + 1)
    )

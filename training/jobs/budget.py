"""The budget of a fine-tuning job: its estimated cost must fit, and is reserved until the job ends.

The estimate precedes the tokenizer: a quarter of the file's bytes in every epoch. The usage records of the
job's attempts have what it really costs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from backoffice.display.money import dollars
from tenants.files.models import StoredFile
from tenants.keys.selectors import actor_key
from tenants.models import SpendReservation, Tenant
from tenants.quotas.amounts import seconds_left
from tenants.quotas.budget import budget_shortage
from tenants.quotas.reservations import spend_reserve
from tenants.quotas.texts import NAMES, SUBJECTS, renewal_text
from training.choices import END_STATUSES
from training.costs import training_cost
from training.models import FineTuningJob
from training.requests.hyperparameters import resolve
from training.requests.job_request import JobRequest
from training.requests.refusals import BudgetShortage, JobRefusedError

BYTES_PER_TOKEN = 4


def check_budget(request: JobRequest, tenant: Tenant, actor: str, price: int) -> None:
    """Raise JobRefusedError unless the budgets of tenant and key cover the job.

    The caller holds the tenant's lock, so that two jobs can't both take the last of a budget.
    """
    cost = estimated_cost(
        tenant, request.training_file, request.method, request.hyperparameters, request.options, price
    )
    if (shortage := _shortage(tenant, actor, cost)) is not None:
        raise JobRefusedError(shortage)


def remaining_shortage(job: FineTuningJob) -> BudgetShortage | None:
    """Return the budget that doesn't cover what an ended job may still cost; None if all do.

    The caller holds the tenant's lock.
    """
    return _shortage(job.tenant, job.created_by, _remaining_cost(job))


def _shortage(tenant: Tenant, actor: str, cost: int) -> BudgetShortage | None:
    shortage = budget_shortage(tenant, actor_key(actor, tenant.id), cost)
    if shortage is None:
        return None
    now, least_budget = time.time(), max(cost, 1)
    return BudgetShortage(
        subject=SUBJECTS[shortage.scope],
        limit_name=NAMES[shortage.limit],
        limit=f"${dollars(shortage.value)}",
        used=f"${dollars(shortage.use)}",
        cost=f"${dollars(cost)}",
        renewal=renewal_text(shortage.limit, now),
        renewal_s=seconds_left(shortage.limit, now),
        is_permanent=least_budget > shortage.value,
        needed=f"${dollars(least_budget)}",
    )


def estimated_cost(
    tenant: Tenant,
    file_id: str,
    method: str,
    hyperparameters: Mapping[str, Any],
    options: Mapping[str, Any],
    price: int,
) -> int:
    """Return the estimated cost of a job in micro-dollars, 0 if its file is unknown."""
    file = StoredFile.objects.filter(tenant=tenant, id=file_id).first() if price else None
    if file is None:
        return 0
    report = file.dataset_report or {}
    run = resolve(
        method=method,
        hyperparameters=hyperparameters,
        options={"adapter": options.get("adapter", "lora")},
        examples=max(1, int(report.get("examples") or 1)),
        threads=None,
    )
    tokens = -(-file.size_bytes // BYTES_PER_TOKEN) * run.n_epochs
    return training_cost(tokens, price)


def reserve_budget(job: FineTuningJob) -> None:
    """Reserve what the job may still cost beyond what its attempts were charged: nothing once it has ended.

    Call it in the transaction that creates, reopens or ends the job or one of its attempts.
    """
    key = actor_key(job.created_by, job.tenant_id)
    amount = 0 if job.status in END_STATUSES else _remaining_cost(job)
    spend_reserve(
        source_id=job.id, tenant_id=job.tenant_id, key_id=None if key is None else key.id, amount=amount
    )


def reservations_release() -> int:
    """Release what ended jobs still reserve; returns the number of these jobs.

    There are some if a training worker of an earlier version, which knows no reservations, ended them.
    """
    ended_jobs = FineTuningJob.objects.filter(status__in=END_STATUSES).values("id")
    job_ids = list(SpendReservation.objects.filter(source_id__in=ended_jobs).values_list("pk", flat=True))
    for job_id in job_ids:
        with transaction.atomic():
            jobs = FineTuningJob.objects.select_for_update(of=("self",)).select_related("tenant")
            reserve_budget(jobs.get(id=job_id))  # it may have been resumed meanwhile
    return len(job_ids)


def _remaining_cost(job: FineTuningJob) -> int:
    cost = estimated_cost(
        job.tenant, job.training_file, job.method, job.hyperparameters, job.options, job.training_price
    )
    charged_tokens = sum(tokens or 0 for tokens in job.attempts.values_list("charged_tokens", flat=True))
    return max(0, cost - training_cost(charged_tokens, job.training_price))

"""Operators' rules for the jobs of a tenant."""

from __future__ import annotations

from django.db import transaction

from tenants.audit_trail.changes import admin_audit_record
from tenants.models import Tenant
from training.models import TrainingPolicy


@transaction.atomic
def policy_set(
    *, tenant: Tenant, allows_preemption: bool, max_running_jobs: int | None, actor: str
) -> TrainingPolicy:
    """Set the rules for the jobs of a tenant."""
    Tenant.objects.select_for_update(no_key=True).get(id=tenant.id)
    policy = TrainingPolicy.objects.filter(tenant=tenant).first()
    before = _policy_values(policy) if policy else None
    policy = policy or TrainingPolicy(tenant=tenant)
    policy.allows_preemption, policy.max_running_jobs = allows_preemption, max_running_jobs
    policy.full_clean(validate_unique=False)
    policy.save()
    admin_audit_record(
        actor=actor,
        action="training_policy.set",
        object_id=str(tenant.id),
        object_name=tenant.slug,
        tenant_id=tenant.id,
        before=before,
        after=_policy_values(policy),
    )
    return policy


def _policy_values(policy: TrainingPolicy) -> dict[str, object]:
    return {"allows_preemption": policy.allows_preemption, "max_running_jobs": policy.max_running_jobs}

"""Several jobs side by side: the settings that differ, then their charts and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpResponse
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from api.console.access import TenantRequest, tenant_page
from api.console.job_data.checkpoint_rows import latest_checkpoints
from api.console.job_data.selectors import jobs_by_id, with_best_loss
from api.console.job_data.state import job_state
from api.console.pages.jobs.job import configuration
from api.console.rendering import page
from training.models import FineTuningJob

MAX_JOBS = 6
MAX_OFFERED = 30
MAX_CHECKPOINTS = 50  # of each job


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting with the value of each job, "—" where a job doesn't have it."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """True if the jobs have different values."""
        return len(set(self.values)) > 1


@tenant_page()
@require_safe
def compare(request: TenantRequest) -> HttpResponse:
    """Compare the jobs in ``?jobs=id,id``; ``diff=0`` shows the equal settings as well."""
    ids = request.GET.get("jobs", "").replace("\0", "").split(",")[:MAX_JOBS]
    jobs = jobs_by_id(request.tenant.id, list(dict.fromkeys(ids)))
    settings = job_settings(jobs)
    differing = [setting for setting in settings if setting.differs]
    context = {
        "jobs": [(job, job_state(job)) for job in jobs],
        "ids": ",".join(job.id for job in jobs),
        "differing": differing,
        "equal": [setting for setting in settings if not setting.differs],
        "shows_equal": request.GET.get("diff") == "0",
        "checkpoints": [(job, latest_checkpoints(job, MAX_CHECKPOINTS)) for job in jobs],
        "offered": _other_jobs(request, {job.id for job in jobs}),
    }
    return page(request, "console/jobs/compare.html", context, section="jobs", title=gettext("Compare jobs"))


def job_settings(jobs: Sequence[FineTuningJob]) -> list[Setting]:
    """Return every setting of the jobs."""
    configurations = [configuration(job) for job in jobs]
    names = dict.fromkeys(name for settings in configurations for name in settings)
    return [Setting(name, tuple(settings.get(name, "—") for settings in configurations)) for name in names]


def _other_jobs(request: TenantRequest, job_ids: set[str]) -> list[FineTuningJob]:
    jobs = with_best_loss(FineTuningJob.objects.filter(tenant=request.tenant)).order_by("-created_at")
    return [job for job in jobs.defer("report", "result")[:MAX_OFFERED] if job.id not in job_ids]

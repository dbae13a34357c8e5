"""The receipt of a finished job: data, seed, attempts, result, and commands that check them."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from api.console.access import TenantRequest, tenant_page
from api.console.job_data.job_form import request_body, values_of_job
from api.console.job_data.owners import owner_names
from api.console.job_data.selectors import has_model
from api.console.pages.jobs.job import configuration, find_job, job_files, job_link
from api.console.rendering import page
from api.console.snippets import KEY_VARIABLE, job_snippets
from tenants.files.models import StoredFile
from training.jobs.selectors import attempts


@tenant_page()
@require_safe
def job_receipt(request: TenantRequest, job_id: str) -> HttpResponse:
    """Show the receipt of a job with a result; 404 for others."""
    job = find_job(request, job_id)
    if not job.result:
        raise Http404
    files = job_files(job)
    base_url = request.build_absolute_uri("/v1")
    context = {
        "job": job,
        "owner": owner_names(job.tenant_id, [job.created_by])[job.created_by],
        "is_receipt": True,
        "files": files,
        "config": configuration(job),
        "attempts": list(attempts(job)),
        "has_model": has_model(job),
        "result": job.result,
        "check": _check_text(base_url, [file for _, _, file in files if file is not None]),
        "repeat": job_snippets(base_url, request_body(values_of_job(job)))["curl"],
    }
    crumbs = [job_link(request, job)]
    title = gettext("Receipt")
    return page(request, "console/jobs/receipt.html", context, section="jobs", title=title, crumbs=crumbs)


def _check_text(base_url: str, files: list[StoredFile]) -> str:
    """Return commands that compare the files with their digests."""
    lines = [
        f'curl -s {base_url}/files/{file.id}/content -H "Authorization: Bearer ${KEY_VARIABLE}" '
        f"| sha256sum | grep {file.sha256}"
        for file in files
    ]
    return "\n".join(lines)

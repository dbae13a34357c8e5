"""Publication of a job's checkpoint as a model."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from api.console.access import TenantRequest, tenant_page
from api.console.job_data.checkpoint_rows import refusal_text
from backoffice.admin_base import actor_of
from training.choices import END_STATUSES
from training.jobs.checkpoint_jobs import CheckpointRefusedError, checkpoint_publish
from training.models import JobCheckpoint


@tenant_page()
@require_POST
def checkpoint_publication(request: TenantRequest, job_id: str, checkpoint_id: str) -> HttpResponseRedirect:
    """Create the job that publishes a checkpoint, and go to its page."""
    if "\0" in job_id + checkpoint_id:
        raise Http404
    try:
        job = checkpoint_publish(
            tenant_id=request.tenant.id,
            job_id=job_id,
            checkpoint_id=checkpoint_id,
            actor=actor_of(request.user),
        )
    except JobCheckpoint.DoesNotExist:
        raise Http404 from None
    except CheckpointRefusedError as error:
        text = gettext("The checkpoint was not published. %(reason)s")
        messages.error(request, text % {"reason": refusal_text(error)})
        return redirect("console:job", request.tenant.slug, job_id)
    if job.status not in END_STATUSES:  # otherwise an earlier request has published it
        text = gettext("A job publishes the checkpoint: an inference worker verifies it first.")
        messages.success(request, text)
    return redirect("console:job", request.tenant.slug, job.id)

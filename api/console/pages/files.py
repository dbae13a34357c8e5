"""Uploaded files: list, upload with the report on a dataset, the page of one file, and deletion."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any, cast

import msgspec
from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from api.console.access import TenantRequest, tenant_page
from api.console.job_data.dataset_checks import ReportError, upload_report
from api.console.rendering import page
from api.console.templatetags.console import size
from backoffice.admin_base import actor_of
from tenants.files.creation import NewFile, file_store
from tenants.files.deletion import FileInUseError, file_delete
from tenants.files.models import Purpose, StoredFile
from tenants.files.selectors import file_find, files, tenant_bytes
from tenants.files.storage.incoming import FileTooLargeError, IncomingFile
from tenants.files.uploads import FileQuotaError
from training.models import FineTuningJob
from training.requests.file_check import stored_report

PAGE_SIZE = 50
MAX_NAME_LENGTH = 255
BUFFER_BYTES = 1 << 20
UPLOAD_PURPOSES = (Purpose.FINE_TUNE, Purpose.USER_DATA)


@tenant_page()
@require_safe
def file_list(request: TenantRequest) -> HttpResponse:
    """Show the tenant's files, newest first."""
    query = request.GET.get("q", "").replace("\0", "")[:200]
    rows = files(tenant_id=request.tenant.id).defer("dataset_report")
    if query:
        rows = rows.filter(Q(filename__icontains=query) | Q(id__icontains=query))
    pages = Paginator(rows.order_by("-created_at", "-id"), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {"pages": pages, "q": query, "used_bytes": tenant_bytes(request.tenant.id)}
    return page(request, "console/files/list.html", context, section="files", title=gettext("Files"))


@tenant_page()
@require_http_methods(["GET", "HEAD", "POST"])
def file_page(request: TenantRequest, file_id: str) -> HttpResponse:
    """Show a file with its report and the jobs that use it; POST deletes it."""
    file = None if "\0" in file_id else file_find(file_id=file_id, tenant_id=request.tenant.id)
    if file is None:
        raise Http404
    if request.method == "POST":
        return _delete(request, file)
    uses = FineTuningJob.objects.for_tenant(file.tenant_id).filter(
        Q(training_file=file.id) | Q(validation_file=file.id)
    )
    context = {
        "file": file,
        "report": file.dataset_report,
        "jobs": list(uses.filter(tenant=request.tenant).defer("report", "result")[:50]),
    }
    return page(request, "console/files/file.html", context, section="files", title=file.filename)


def _delete(request: TenantRequest, file: StoredFile) -> HttpResponseRedirect:
    try:
        file_delete(file_id=file.id, actor=actor_of(request.user), tenant_id=request.tenant.id)
    except FileInUseError as error:
        text = gettext("The file can't be deleted: the job %(job)s has not ended and needs it.")
        messages.error(request, text % {"job": error.users[0]})
        return redirect("console:file", request.tenant.slug, file.id)
    messages.success(request, gettext("The file is deleted."))
    return redirect("console:files", request.tenant.slug)


@tenant_page()
@require_POST
def file_upload(request: TenantRequest) -> JsonResponse:
    """Store the body as a file named ``?name=``; a dataset with faults is refused with its report.

    The body is streamed: it may be larger than those of other pages (cyllm_site.middleware.body_limits).
    """
    name = request.GET.get("name", "").replace("\0", "")[:MAX_NAME_LENGTH] or "dataset.jsonl"
    purpose = request.GET.get("purpose", Purpose.FINE_TUNE)
    if purpose not in UPLOAD_PURPOSES:
        return _refusal(gettext("Files of this purpose can't be uploaded here."))
    with IncomingFile(Path(settings.FILE_INCOMING_DIR), sys.maxsize) as copy:
        while data := request.read(BUFFER_BYTES):
            copy.write(data)
        copy.complete()
        return _store(request, copy.path, name, Purpose(purpose))


def _store(request: TenantRequest, path: Path, name: str, purpose: Purpose) -> JsonResponse:
    report: Any = None
    try:
        if purpose == Purpose.FINE_TUNE:
            report = upload_report(path)
            if report.fault_count:
                return _faults(name, report)
        new = NewFile(
            filename=name,
            purpose=purpose,
            dataset_report=None if report is None else stored_report(report),
        )
        with path.open("rb") as content:
            file = file_store(
                tenant_id=request.tenant.id,
                content=cast("IO[bytes]", content),
                new=new,
                actor=actor_of(request.user),
            )
    except FileTooLargeError as error:
        text = gettext("A file can have at most %(limit)s. Split it into smaller ones.")
        return _refusal(text % {"limit": size(error.limit)})
    except FileQuotaError as error:
        text = (
            gettext(
                "The file exceeds the limit for all files of the tenant, %(limit)s. Upload a smaller one."
            )
            if error.is_permanent
            else gettext("The files of the tenant can have at most %(limit)s. Delete some first.")
        )
        return _refusal(text % {"limit": size(error.limit)})
    except ReportError as error:
        return _refusal(str(error))
    html = "" if report is None else _report_html(report)
    address = reverse("console:file", args=[request.tenant.slug, file.id])
    return JsonResponse({"id": file.id, "filename": file.filename, "address": address, "html": html})


def _faults(name: str, report: Any) -> JsonResponse:
    text = gettext("“%(name)s” has faults and was not stored.") % {"name": name}
    return JsonResponse({"error": text, "html": _report_html(report)}, status=422)


def _report_html(report: Any) -> str:
    return render_to_string("console/files/report.html", {"report": msgspec.to_builtins(report)})


def _refusal(text: str) -> JsonResponse:
    return JsonResponse({"error": text, "html": ""}, status=422)

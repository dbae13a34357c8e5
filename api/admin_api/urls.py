"""Addresses of the administrative API, below ``/api/admin/v1/``."""

from __future__ import annotations

from django.urls import path

from api.admin_api.views import jobs, keys, models, records, tenants, usage
from api.admin_api.views.document import DocumentView
from api.admin_api.views.unknown import UnknownView

app_name = "admin_api"

TENANT = "tenants/<str:tenant>"
KEY = f"{TENANT}/keys/<str:key_id>"
JOB = f"{TENANT}/jobs/<str:job_id>"

urlpatterns = [
    path("openapi.json", DocumentView.as_view(), name="document"),
    path("tenants", tenants.TenantsView.as_view(), name="tenants"),
    path(TENANT, tenants.TenantView.as_view(), name="tenant"),
    path(f"{TENANT}/members", tenants.MembersView.as_view(), name="members"),
    path(f"{TENANT}/members/<str:username>", tenants.MemberView.as_view(), name="member"),
    path(f"{TENANT}/keys", keys.KeysView.as_view(), name="keys"),
    path(KEY, keys.KeyView.as_view(), name="key"),
    path(f"{KEY}/rotate", keys.KeyRotationView.as_view(), name="key-rotation"),
    path(f"{KEY}/revoke", keys.KeyRevocationView.as_view(), name="key-revocation"),
    path(f"{TENANT}/usage", usage.UsageView.as_view(), name="tenant-usage"),
    path(f"{TENANT}/usage/records", records.UsageRecordsView.as_view(), name="tenant-usage-records"),
    path(f"{TENANT}/audit/requests", records.AuditedRequestsView.as_view(), name="tenant-requests"),
    path(f"{TENANT}/audit/changes", records.ChangesView.as_view(), name="tenant-changes"),
    path(f"{TENANT}/refusals", records.RefusalsView.as_view(), name="tenant-refusals"),
    path(f"{TENANT}/jobs", jobs.JobsView.as_view(), name="tenant-jobs"),
    path(JOB, jobs.JobView.as_view(), name="job"),
    path(f"{JOB}/cancel", jobs.JobCancelView.as_view(), name="job-cancel"),
    path(f"{JOB}/pause", jobs.JobPauseView.as_view(), name="job-pause"),
    path(f"{JOB}/resume", jobs.JobResumeView.as_view(), name="job-resume"),
    path(f"{JOB}/checkpoints", jobs.CheckpointsView.as_view(), name="job-checkpoints"),
    path(
        f"{JOB}/checkpoints/<str:checkpoint_id>/publish",
        jobs.CheckpointPublicationView.as_view(),
        name="checkpoint-publication",
    ),
    path("models", models.ModelsView.as_view(), name="models"),
    path("models/<path:name>", models.ModelView.as_view(), name="model"),
    path("workers", models.WorkersView.as_view(), name="workers"),
    path("usage", usage.AllUsageView.as_view(), name="usage"),
    path("usage/records", records.AllUsageRecordsView.as_view(), name="usage-records"),
    path("audit/requests", records.AllAuditedRequestsView.as_view(), name="requests"),
    path("audit/changes", records.AllChangesView.as_view(), name="changes"),
    path("refusals", records.AllRefusalsView.as_view(), name="refusals"),
    path("jobs", jobs.AllJobsView.as_view(), name="jobs"),
    path("", UnknownView.as_view(), name="root"),
    path("<path:rest>", UnknownView.as_view(), name="unknown"),
]

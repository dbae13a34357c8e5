"""URLs of the console. ``{tenant}`` is the short name of a tenant; see access.py."""

from django.contrib.auth.views import LogoutView
from django.urls import include, path

from api.console.pages import audit, entrance, files, keys, members, models, playground, status, usage
from api.console.pages.jobs import (
    checkpoints,
    compare,
    job,
    job_list,
    new_job,
    new_job_report,
    receipt,
    step,
)

app_name = "console"

tenant_patterns = [
    path("", entrance.tenant_home, name="tenant"),
    path("jobs/", job_list.job_list, name="jobs"),
    path("jobs/new/", new_job.job_new, name="job-new"),
    path("jobs/new/review/", new_job.job_review, name="job-review"),
    path("jobs/new/report/", new_job_report.job_report, name="job-report"),
    path("compare/", compare.compare, name="compare"),
    path("files/", files.file_list, name="files"),
    path("files/upload/", files.file_upload, name="file-upload"),
    path("files/<str:file_id>/", files.file_page, name="file"),
    path("jobs/<str:job_id>/", job.job_page, name="job"),
    path("jobs/<str:job_id>/series/", job.job_series, name="job-series"),
    path("jobs/<str:job_id>/receipt/", receipt.job_receipt, name="job-receipt"),
    path("jobs/<str:job_id>/steps/<int:step>/", step.job_step, name="job-step"),
    path(
        "jobs/<str:job_id>/checkpoints/<str:checkpoint_id>/publish/",
        checkpoints.checkpoint_publication,
        name="checkpoint-publish",
    ),
    path("jobs/<str:job_id>/<slug:action>/", job.job_action, name="job-action"),
    path("models/", models.model_list, name="models"),
    path("model-states/", models.model_states, name="model-states"),
    path("keys/", keys.key_list, name="keys"),
    path("keys/<uuid:key_id>/", keys.key_detail, name="key"),
    path("keys/<uuid:key_id>/rotate/", keys.key_rotation, name="key-rotate"),
    path("keys/<uuid:key_id>/revoke/", keys.key_revocation, name="key-revoke"),
    path("playground/", playground.playground, name="playground"),
    path("playground/key/", playground.playground_key, name="playground-key"),
    path("usage/", usage.usage_page, name="usage"),
    path("usage/records/", usage.usage_records, name="usage-records"),
    path("audit/", audit.change_list, name="audit"),
    path("audit/requests/", audit.request_list, name="audit-requests"),
    path("audit/refusals/", audit.refusal_counts, name="audit-refusals"),
    path("audit/verify/", audit.verification, name="audit-verify"),
    path("audit/export/", audit.export, name="audit-export"),
    path("members/", members.member_list, name="members"),
    path("members/<int:user_id>/", members.member_change, name="member"),
    path("models/<path:name>/", models.model_detail, name="model"),
]

urlpatterns = [
    path("", entrance.landing, name="landing"),
    path("console/", entrance.home, name="home"),
    path("console/sign-in/", entrance.SignIn.as_view(), name="sign-in"),
    path("console/sign-out/", LogoutView.as_view(next_page="console:landing"), name="sign-out"),
    path("console/status/", status.status, name="status"),
    path("console/status/part/", status.status_part, name="status-part"),
    path("console/<slug:tenant>/", include(tenant_patterns)),
]

"""URLs of the console. ``{tenant}`` is the short name of a tenant; see access.py."""

from django.contrib.auth.views import LogoutView
from django.urls import include, path

from api.console.pages import entrance, files
from api.console.pages.jobs import checkpoints, compare, job, job_list, new_job, receipt, step
from api.console.serving_urls import operator_patterns, tenant_patterns

app_name = "console"

urlpatterns = [
    path("", entrance.landing, name="landing"),
    path("console/", entrance.home, name="home"),
    path("console/sign-in/", entrance.SignIn.as_view(), name="sign-in"),
    path("console/sign-out/", LogoutView.as_view(next_page="console:landing"), name="sign-out"),
    path("console/", include(operator_patterns)),
    path("console/<slug:tenant>/", include(tenant_patterns)),
    path("console/<slug:tenant>/", entrance.tenant_home, name="tenant"),
    path("console/<slug:tenant>/jobs/", job_list.job_list, name="jobs"),
    path("console/<slug:tenant>/jobs/new/", new_job.job_new, name="job-new"),
    path("console/<slug:tenant>/jobs/new/review/", new_job.job_review, name="job-review"),
    path("console/<slug:tenant>/jobs/new/report/", new_job.job_report, name="job-report"),
    path("console/<slug:tenant>/compare/", compare.compare, name="compare"),
    path("console/<slug:tenant>/files/", files.file_list, name="files"),
    path("console/<slug:tenant>/files/upload/", files.file_upload, name="file-upload"),
    path("console/<slug:tenant>/files/<str:file_id>/", files.file_page, name="file"),
    path("console/<slug:tenant>/jobs/<str:job_id>/", job.job_page, name="job"),
    path("console/<slug:tenant>/jobs/<str:job_id>/series/", job.job_series, name="job-series"),
    path("console/<slug:tenant>/jobs/<str:job_id>/receipt/", receipt.job_receipt, name="job-receipt"),
    path("console/<slug:tenant>/jobs/<str:job_id>/steps/<int:step>/", step.job_step, name="job-step"),
    path(
        "console/<slug:tenant>/jobs/<str:job_id>/checkpoints/<str:checkpoint_id>/publish/",
        checkpoints.checkpoint_publication,
        name="checkpoint-publish",
    ),
    path("console/<slug:tenant>/jobs/<str:job_id>/<slug:action>/", job.job_action, name="job-action"),
]

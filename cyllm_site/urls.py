"""URLs of Django's pages. The API doesn't pass through Django; see asgi.py."""

from django.contrib import admin
from django.urls import include, path

from cyllm_site.pages.api_reference import api_reference
from cyllm_site.pages.favicon import icon
from cyllm_site.sign_in import views

urlpatterns = [
    # Before the pages of the same addresses, which know the password only.
    path("admin/login/", views.AdminSignIn.as_view()),
    path("console/sign-in/", views.ConsoleSignIn.as_view()),
    path("console/sign-in/code/", views.sign_in_code, name="sign-in-code"),
    path("console/sign-in/enrol/", views.sign_in_enrol, name="sign-in-enrol"),
    path("console/two-factor/", views.two_factor, name="two-factor"),
    path("console/two-factor/change/", views.two_factor_change, name="two-factor-change"),
    path("docs", api_reference, name="api-reference"),
    path("docs/", api_reference),
    path("favicon.ico", icon),
    path("", include("api.console.urls")),
    path("admin/", admin.site.urls),
    path("api/admin/v1/", include("api.admin_api.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
]

handler400 = "cyllm_site.pages.errors.bad_request"
handler403 = "cyllm_site.pages.errors.forbidden"
handler404 = "cyllm_site.pages.errors.not_found"
handler500 = "cyllm_site.pages.errors.failed"

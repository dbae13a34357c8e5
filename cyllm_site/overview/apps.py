"""The configuration of Django's admin with this site's index."""

from django.contrib.admin.apps import AdminConfig


class OverviewConfig(AdminConfig):
    """The admin, whose site is ours."""

    default = False
    default_site = "cyllm_site.overview.site.OverviewSite"

"""Settings of the sample site: the production settings, and addresses whose views fail."""

from cyllm_site.settings.base import *  # noqa: F403

ROOT_URLCONF = "tests.site.harness.failing_urls"

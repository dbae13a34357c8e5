"""Every page of the admin, as an operator and as staff: nothing of tenants in which staff have no role."""

from __future__ import annotations

import pytest
import redis
from django.contrib.auth.models import User
from django.test import Client

from inference_worker.registry.services import grant_set, model_register
from tenants.admin_pages.staff_presets import StaffPreset, preset_permissions
from tenants.models import Membership
from tests.console.harness.heartbeats import beat, heartbeat
from tests.console.harness.sample_site import ADAPTER, BASE_MODEL, fill_site
from tests.people import Cast
from tests.site.harness.admin_urls import admin_pages

pytestmark = [pytest.mark.django_db, pytest.mark.criterion("6.2")]

PRIVATE_MODEL = "private-model"
FOREIGN = ("globex", ADAPTER, PRIVATE_MODEL)
# Pages of models, which belong to no tenant.
SHARED = ("/admin/", "/admin/workers/", "/admin/registry/servedmodel/")


@pytest.fixture
def boss(cast: Cast, redis_client: redis.Redis) -> User:
    """A superuser of a site whose rows are all of globex."""
    user = User.objects.create_superuser("boss")
    fill_site(cast.globex, user)
    model_register(name=PRIVATE_MODEL, actor="tests", visibility="restricted")
    grant_set(name=PRIVATE_MODEL, tenant_ids=[cast.globex.pk], actor="tests")
    beat(redis_client, heartbeat("worker-1", models=(BASE_MODEL, PRIVATE_MODEL)))
    return user


def visitor(user: User) -> Client:
    """Return a client of the user, signed in."""
    client = Client()
    client.force_login(user)
    return client


def test_an_operator_can_open_every_page_that_the_table_of_urls_yields(boss: User) -> None:
    # The checks of all pages for accessibility would judge an error page in place of a missing one.
    client = visitor(boss)
    statuses = {path: client.get(path).status_code for path in admin_pages(boss)}
    assert {path: status for path, status in statuses.items() if status not in (200, 302)} == {}
    assert list(statuses.values()).count(200) > 50


def foreign_names(client: Client, path: str) -> list[str]:
    """Return the names of globex and of its models that a page contains."""
    html = client.get(path).content.decode()
    return [name for name in FOREIGN if name in html]


def test_staff_see_no_names_of_other_tenants_and_of_their_models(boss: User, cast: Cast) -> None:
    staff = User.objects.create_user("helper", is_staff=True)
    staff.user_permissions.set(right for preset in StaffPreset for right in preset_permissions(preset))
    Membership.objects.create(tenant=cast.acme, user=staff, role="owner")
    client = visitor(staff)
    assert {path: names for path in admin_pages(boss) if (names := foreign_names(client, path))} == {}
    assert BASE_MODEL in client.get("/admin/workers/").content.decode()
    operator = visitor(boss)
    assert [path for path in SHARED if not foreign_names(operator, path)] == []


def test_staff_see_a_restricted_model_once_their_tenant_has_a_grant(boss: User, cast: Cast) -> None:
    staff = User.objects.create_user("helper", is_staff=True)
    staff.user_permissions.set(preset_permissions(StaffPreset.SUPPORT))
    Membership.objects.create(tenant=cast.acme, user=staff, role="viewer")
    grant_set(name=PRIVATE_MODEL, tenant_ids=[cast.globex.pk, cast.acme.pk], actor="tests")
    client = visitor(staff)
    for path in SHARED[1:]:
        assert foreign_names(client, path) == [PRIVATE_MODEL]

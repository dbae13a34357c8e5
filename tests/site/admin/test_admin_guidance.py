"""The admin guides people: unknown objects, filtered lists, grants that do not do what they seem to."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import label_for_field
from django.contrib.auth.models import User
from django.db.models import DateTimeField
from django.test import Client, RequestFactory

from inference_worker.registry.models import ServedModel
from inference_worker.registry.services import grant_set, model_register
from tests.console.harness.jobs import job_with_steps
from tests.people import Cast

pytestmark = pytest.mark.django_db

MODELS = "/admin/registry/servedmodel/"


@pytest.fixture
def boss(cast: Cast, redis_client: Any) -> Client:
    """A superuser's browser."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.mark.case("admin.13")
@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("/admin/tenants/tenant/", str(uuid.UUID(int=4711))),
        ("/admin/tenants/apikey/", str(uuid.UUID(int=4711))),
        (MODELS, "4711"),
        ("/admin/training/finetuningjob/", "ftjob-none"),
    ],
)
def test_an_unknown_object_leads_back_to_its_list_with_a_message(
    boss: Client, address: str, key: str
) -> None:
    response = boss.get(f"{address}{key}/change/", follow=True)
    assert response.redirect_chain[-1][0] == address
    text = response.content.decode()
    assert "There is no" in text
    assert key in text or key.replace("-", "_2D") in text


@pytest.mark.case("admin.11")
@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("unknown=1", "unknown"),
        ("e=1&unknown=1", "unknown"),
        ("state=odd&name=acme", "state"),
        ("q=acme&id__exact=x", "id__exact"),
    ],
)
def test_a_parameter_that_is_no_filter_is_named_and_does_not_blame_the_database(
    boss: Client, cast: Cast, query: str, name: str
) -> None:
    page = boss.get(f"/admin/tenants/apikey/?{query}")
    assert page.status_code == 200
    assert f"“{name}” can&#x27;t be used to filter this list" in page.content.decode()
    assert page.context["cl"].result_count == 2
    assert "atabase" not in page.content.decode()


@pytest.mark.case("admin.10")
def test_a_new_row_takes_the_tenant_of_the_filtered_list(boss: Client, cast: Cast) -> None:
    list_page = boss.get(f"/admin/tenants/apikey/?tenant__id__exact={cast.acme.pk}").content.decode()
    link = f"/admin/tenants/apikey/add/?_changelist_filters=tenant__id__exact%3D{cast.acme.pk}"
    assert link in list_page
    form = boss.get(link).context["adminform"].form
    assert str(form.get_initial_for_field(form.fields["tenant"], "tenant")) == str(cast.acme.pk)


@pytest.mark.case("admin.10")
def test_forms_warn_before_typed_values_are_lost(boss: Client) -> None:
    for page in ("tenants/tenant/add/", "tenants/apikey/add/", "registry/servedmodel/add/"):
        assert "warn-unsaved-form" in boss.get(f"/admin/{page}").content.decode()


def save(client: Client, cast: Cast, visibility: str, *, has_grant: bool, **extra: str) -> Any:
    """Submit the form of a new model."""
    data: dict[str, Any] = {
        "name": "new",
        "visibility": visibility,
        "enabled": "on",
        "owned_by": "us",
        "granted_to": [str(cast.acme.pk)] if has_grant else [],
        **extra,
    }
    return client.post(f"{MODELS}add/", data)


@pytest.mark.case("admin.7")
@pytest.mark.parametrize(
    ("visibility", "has_grant", "words"),
    [
        ("restricted", False, "no tenant has one"),
        ("public", True, "the grants restrict nothing"),
    ],
)
def test_grants_without_the_effect_that_they_suggest_are_saved_only_on_purpose(
    boss: Client, cast: Cast, visibility: str, has_grant: bool, words: str
) -> None:
    response = save(boss, cast, visibility, has_grant=has_grant)
    assert response.status_code == 200
    assert words in response.content.decode()
    assert 'type="checkbox" name="save_anyway"' in response.content.decode()
    assert not ServedModel.objects.exists()
    assert save(boss, cast, visibility, has_grant=has_grant, save_anyway="on").status_code == 302
    assert ServedModel.objects.get().visibility == visibility


@pytest.mark.case("admin.7")
@pytest.mark.parametrize(("visibility", "has_grant"), [("restricted", True), ("public", False)])
def test_grants_that_have_their_effect_are_saved_at_once(
    boss: Client, cast: Cast, visibility: str, has_grant: bool
) -> None:
    assert save(boss, cast, visibility, has_grant=has_grant).status_code == 302


@pytest.mark.case("admin.7")
def test_the_list_shows_who_may_see_each_model_and_whether_it_is_served(boss: Client, cast: Cast) -> None:
    model_register(name="a", actor="tests")
    model_register(name="b", actor="tests", visibility="restricted")
    model_register(name="c", actor="tests", visibility="restricted")
    grant_set(name="c", tenant_ids=[cast.acme.pk], actor="tests")
    text = boss.get(MODELS).content.decode()
    assert "no tenant: none has a grant" in text
    assert "1 tenant with a grant" in text
    assert "No worker serves it. An operator has to start one." in text
    page = boss.get(f"{MODELS}{ServedModel.objects.get(name='a').pk}/change/").content.decode()
    assert "No worker serves it. An operator has to start one." in page


@pytest.mark.case("admin.17")
@pytest.mark.parametrize(("language", "yes", "no"), [("en", "Yes", "No"), ("zh-hans", "是", "否")])
def test_an_ordinary_no_does_not_look_like_a_fault(boss: Client, language: str, yes: str, no: str) -> None:
    page = boss.get("/admin/auth/user/", headers={"accept-language": language}).content.decode()
    rows = page.partition("<tbody")[2]
    assert f'aria-label="{yes}"' in rows
    assert f'aria-label="{no}"' in rows
    assert "text-red-" not in rows.partition("</table>")[0]


@pytest.mark.case("admin.17")
def test_the_way_to_a_page_names_objects_as_they_are(boss: Client, cast: Cast) -> None:
    job = job_with_steps(cast.acme, 1)
    page = boss.get(f"/admin/training/finetuningjob/{job.id}/change/").content.decode()
    way = page.partition("<main")[0]
    assert f">{job.id}</a>" in way
    assert ">Fine-tuning jobs</a>" in way
    assert job.id.capitalize() not in page
    assert ">acme</a>" in boss.get(f"/admin/tenants/tenant/{cast.acme.pk}/change/").content.decode()


@pytest.mark.case("admin.15")
def test_the_heading_of_each_column_of_times_names_the_zone(boss: Client) -> None:
    request = RequestFactory().get("/admin/")
    request.user = User.objects.get(username="boss")
    zones = {}
    for model, page in admin.site._registry.items():
        times = {field.name for field in model._meta.concrete_fields if isinstance(field, DateTimeField)}
        for column in page.get_list_display(request):
            name = column if isinstance(column, str) else column.__name__
            heading = str(label_for_field(column, model, page))
            zones[f"{model._meta.model_name}.{name}"] = (name in times, heading.endswith(" (UTC)"))
    assert [name for name, (is_time, has_zone) in zones.items() if is_time != has_zone] == []
    assert sum(is_time for is_time, _ in zones.values()) > 15
    assert "Created (UTC)" in boss.get("/admin/tenants/tenant/").content.decode()

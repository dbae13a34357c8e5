"""``manage.py models`` and the registry's admin pages."""

from __future__ import annotations

import io
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from inference_worker.protocol import codec, names
from inference_worker.registry.adapter_services import NewAdapter, adapter_register
from inference_worker.registry.archives import archive_save
from inference_worker.registry.models import ServedModel
from inference_worker.registry.selectors import catalogue
from tenants.models import AdminAudit
from tests.commands import run, run_json
from tests.heartbeats import ready_heartbeat

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db


def test_workers_are_listed_with_their_unregistered_models(redis_client: redis.Redis, cast: Cast) -> None:
    assert run("models", "workers") == "No live workers.\n"
    heartbeat = ready_heartbeat("org/m", "ft:m", running=2, waiting=1)
    redis_client.set(names.worker_key("gpu-1"), codec.encode(heartbeat), ex=60)
    redis_client.zadd(names.WORKER_INDEX, {"gpu-1": 1.0, "dead": 1.0})
    run("models", "add", "org/m")
    (row,) = run_json("models", "workers")
    assert (row["worker"], row["state"], row["running"], row["waiting"]) == ("gpu-1", "ready", 2, 1)
    assert (row["models"], row["not_registered"]) == (["org/m", "ft:m"], ["ft:m"])
    warnings = io.StringIO()
    call_command("models", "workers", stdout=io.StringIO(), stderr=warnings)
    assert warnings.getvalue() == "Requests for ft:m fail with 404 until `manage.py models add ft:m`.\n"


def test_without_redis_workers_can_not_be_listed(settings: Any, cast: Cast) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    with pytest.raises(CommandError, match="CYLLM_REDIS_URL"):
        run("models", "workers")


def test_a_model_is_added_updated_listed_and_removed(cast: Cast) -> None:
    model = run_json(
        "models", "add", "org/m", "--source", "/m", "--max-model-len", "512", "--alias", "a", "b"
    )
    assert (model["name"], model["aliases"], model["max_model_len"]) == ("org/m", ["a", "b"], 512)
    model = run_json(
        "models",
        "update",
        "org/m",
        "--visibility",
        "restricted",
        "--grant",
        "globex",
        str(cast.acme.id),
        "--alias",
    )
    assert (model["aliases"], model["granted_to"]) == ([], ["acme", "globex"])
    (entry,) = catalogue()
    assert entry.tenant_ids == {str(cast.acme.id), str(cast.globex.id)}
    assert "Model org/m updated." in run("models", "update", "org/m", "--disable", "--max-model-len", "none")
    (row,) = run_json("models", "list")
    assert (row["enabled"], row["max_model_len"]) == (False, None)
    assert run_json("models", "remove", "org/m") == {"name": "org/m", "removed": True}
    assert run("models", "list").startswith("No models yet")
    assert (
        set(AdminAudit.objects.filter(action__startswith="model.").values_list("actor", flat=True)) != set()
    )


def test_an_invalid_command_reports_the_fault_and_changes_nothing() -> None:
    run("models", "add", "smollm2")
    for arguments, fault in [
        (
            ("update", "smolm2"),
            r"No such model: smolm2\. Did you mean smollm2\? `manage.py models list` shows all",
        ),
        (("remove", "other"), r"No such model: other\."),
        (("add", "a b"), "1 to 200 letters"),
        (("add", "new", "--grant", "acme"), r"No such tenant: acme\. `manage.py tenants list` shows all"),
        (("add", "new", "--alias", "smollm2"), "smollm2 is the name of a model"),
    ]:
        with pytest.raises(CommandError, match=fault):
            run("models", *arguments)
    assert list(ServedModel.objects.values_list("name", flat=True)) == ["smollm2"]


def test_models_are_added_changed_and_removed_in_the_admin(admin: Client, cast: Cast) -> None:
    tenant_id = cast.acme.id
    form = {
        "name": "m",
        "owned_by": "acme",
        "enabled": "on",
        "visibility": "restricted",
        "alias_lines": "x\ny",
        "granted_to": [str(tenant_id)],
    }
    assert admin.post("/admin/registry/servedmodel/add/", form).status_code == 302
    (entry,) = catalogue()
    assert (entry.aliases, entry.tenant_ids, entry.public) == (("x", "y"), frozenset({str(tenant_id)}), False)
    page = f"/admin/registry/servedmodel/{ServedModel.objects.get().pk}"
    html = admin.get(f"{page}/change/").content.decode()
    assert "x\ny" in html
    assert f'<option value="{tenant_id}" selected>acme</option>' in html
    assert f'<option value="{cast.globex.id}">globex</option>' in html
    changes = {"max_model_len": "64", "alias_lines": "x"}
    assert admin.post(f"{page}/change/", form | changes).status_code == 302
    (entry,) = catalogue()
    assert (entry.name, entry.max_model_len, entry.aliases) == ("m", 64, ("x",))
    assert admin.post(f"{page}/delete/", {"post": "yes"}).status_code == 302
    assert catalogue() == ()
    rows = AdminAudit.objects.filter(object_name="m").order_by("id")
    actions = [
        "model.create",
        "model.aliases",
        "model.grants",
        "model.update",
        "model.aliases",
        "model.remove",
    ]
    assert [row.action for row in rows] == actions
    assert {row.actor for row in rows} == {"user:owner"}


def test_a_grant_to_an_unknown_tenant_remains_until_it_is_removed(admin: Client) -> None:
    run("models", "add", "m", "--grant", str(stranger := uuid.uuid4()))
    page = f"/admin/registry/servedmodel/{ServedModel.objects.get().pk}/change/"
    form = {"owned_by": "acme", "visibility": "public", "alias_lines": "", "save_anyway": "on"}
    assert f'<option value="{stranger}" selected>{stranger}</option>' in admin.get(page).content.decode()
    assert admin.post(page, form | {"granted_to": [str(stranger)]}).status_code == 302
    assert list(ServedModel.objects.get().grants.values_list("tenant_id", flat=True)) == [stranger]
    assert admin.post(page, form).status_code == 302
    assert not ServedModel.objects.get().grants.exists()


def test_an_error_of_a_service_is_shown_and_rolled_back(admin: Client) -> None:
    run("models", "add", "taken")
    form = {
        "name": "m",
        "owned_by": "acme",
        "visibility": "public",
        "alias_lines": "taken",
    }
    page = admin.post("/admin/registry/servedmodel/add/", form, follow=True)
    assert "taken is the name of a model" in "".join(map(str, page.context["messages"]))
    assert list(ServedModel.objects.values_list("name", flat=True)) == ["taken"]
    page = admin.post("/admin/registry/servedmodel/add/", form | {"granted_to": ["acme"]})
    assert page.context["adminform"].errors.keys() == {"granted_to"}


def _adapter(cast: Cast, number: int) -> NewAdapter:
    return NewAdapter(
        name=f"ft:tiny:acme::{number}",
        base="tiny",
        sha256="ab" * 32,
        rank=8,
        size_bytes=7,
        tenant_id=cast.acme.id,
        owned_by="acme",
    )


def test_an_adapter_is_shown_and_deleted_in_the_admin(admin: Client, cast: Cast) -> None:
    run("models", "add", "tiny", "--prompt-price", "0.25", "--completion-price", "1")
    archive_save("ab" * 32, io.BytesIO(b"weights"))
    adapter = adapter_register(_adapter(cast, 1), actor="tests")
    page = admin.get("/admin/registry/adapter/").content.decode()
    assert "ft:tiny:acme::1" in page
    assert admin.get(f"/admin/registry/adapter/{adapter.pk}/change/").status_code == 200
    assert admin.get("/admin/registry/servedmodel/?adapter__isempty=0").status_code == 200
    rows = run_json("models", "list")
    assert {row["name"]: row["adapter_of"] for row in rows} == {"tiny": None, "ft:tiny:acme::1": "tiny"}
    assert [(row["prompt_price"], row["completion_price"]) for row in rows] == [("0.25", "1.00")] * 2
    path = "/api/admin/v1/models/ft:tiny:acme::1"
    prices = {"prompt": 250_000, "cached": None, "completion": 1_000_000, "training": 0}
    assert admin.get(path).json()["prices"] == prices
    assert admin.post("/admin/registry/adapter/add/").status_code == 403
    with pytest.raises(CommandError, match="it has the prices of its base model, tiny"):
        run("models", "update", "ft:tiny:acme::1", "--prompt-price", "1")
    with pytest.raises(CommandError, match="has adapters"):
        run("models", "remove", "tiny")
    assert admin.post(f"/admin/registry/adapter/{adapter.pk}/delete/", {"post": "yes"}).status_code == 302
    assert [row["name"] for row in run_json("models", "list")] == ["tiny"]
    (deletion,) = AdminAudit.objects.filter(action="adapter.delete")
    assert (deletion.object_name, deletion.tenant_id) == ("ft:tiny:acme::1", cast.acme.id)


def test_the_list_of_adapters_has_as_many_queries_for_many_rows_as_for_one(
    admin: Client, cast: Cast, django_assert_num_queries: Any
) -> None:
    run("models", "add", "tiny")
    archive_save("ab" * 32, io.BytesIO(b"weights"))

    def add(number: int) -> None:
        adapter_register(_adapter(cast, number), actor="tests")

    add(0)
    with CaptureQueriesContext(connection) as queries:
        admin.get("/admin/registry/adapter/")
    for number in range(1, 5):
        add(number)
    with django_assert_num_queries(len(queries)):
        page = admin.get("/admin/registry/adapter/").content.decode()
    assert page.count(">acme<") == 5

"""The demo tenant: created on the first start, reused afterwards, repaired if its file is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from deploy.local.demo.demo_tenant import ADMIN, Demo, provision_demo
from deploy.local.files import read_env
from inference_worker.registry.models import ServedModel
from inference_worker.registry.services import model_update
from tenants.keys.services import key_revoke
from tenants.models import AdminAudit, ApiKey, Membership, Tenant

pytestmark = pytest.mark.django_db

Provision = Callable[[], Demo]


@pytest.fixture
def messages() -> list[str]:
    """Messages for the terminal."""
    return []


@pytest.fixture
def provision(tmp_path: Path, messages: list[str]) -> Provision:
    """Provision the demo tenant as one start of the stack does."""

    def start() -> Demo:
        return provision_demo(
            path=tmp_path / "demo.env",
            base_url="http://127.0.0.1:8000",
            models={"some-model": "/models/some-model", "ft:some": "/adapters/some"},
            say=messages.append,
        )

    return start


def test_the_first_start_creates_tenant_key_admin_and_models(provision: Provision, tmp_path: Path) -> None:
    demo = provision()
    assert Tenant.objects.get().slug == "demo"
    assert demo.key.startswith("sk-cy-" + ApiKey.objects.get().prefix)
    admin = User.objects.get()
    assert admin.is_superuser
    assert admin.check_password(demo.admin_password)
    assert Membership.objects.get().role == "owner"
    assert dict(ServedModel.objects.values_list("name", "source")) == {
        "some-model": "/models/some-model",
        "ft:some": "/adapters/some",
    }
    assert read_env(tmp_path / "demo.env") == {
        "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1",
        "OPENAI_API_KEY": demo.key,
        "CYLLM_ADMIN_URL": "http://127.0.0.1:8000/admin/",
        "CYLLM_ADMIN_USER": ADMIN,
        "CYLLM_ADMIN_PASSWORD": demo.admin_password,
    }


def test_the_file_with_the_secrets_is_private(provision: Provision, tmp_path: Path) -> None:
    provision()
    assert (tmp_path / "demo.env").stat().st_mode & 0o777 == 0o600


def test_a_second_start_changes_nothing(provision: Provision, messages: list[str]) -> None:
    first = provision()
    audit_rows = AdminAudit.objects.count()
    messages.clear()
    assert provision() == first
    assert AdminAudit.objects.count() == audit_rows
    assert messages == []


def test_an_adapter_that_was_restricted_stays_restricted(provision: Provision) -> None:
    provision()
    model_update(name="ft:some", actor="tests", visibility="restricted")
    provision()
    assert ServedModel.objects.get(name="ft:some").visibility == "restricted"


def test_a_lost_file_is_replaced_with_a_new_key_and_a_new_password(
    provision: Provision, tmp_path: Path, messages: list[str]
) -> None:
    first = provision()
    (tmp_path / "demo.env").unlink()
    second = provision()
    assert second.key != first.key
    assert ApiKey.objects.count() == 2
    assert Tenant.objects.count() == 1
    assert User.objects.get().check_password(second.admin_password)
    assert not any(second.key in line or second.admin_password in line for line in messages)


def test_a_revoked_key_is_replaced_and_the_password_stays(provision: Provision, messages: list[str]) -> None:
    first = provision()
    key_revoke(key_id=ApiKey.objects.get().id, actor="tests")
    messages.clear()
    second = provision()
    assert second.key != first.key
    assert second.admin_password == first.admin_password
    assert len(messages) == 1
    assert messages[0].startswith("new API key in demo.env")


def test_a_key_from_another_database_is_replaced(provision: Provision, tmp_path: Path) -> None:
    first = provision()
    ApiKey.objects.all().delete()
    assert provision().key != first.key


def test_the_repr_contains_no_secrets(provision: Provision) -> None:
    demo = provision()
    assert demo.key not in repr(demo)
    assert demo.admin_password not in repr(demo)

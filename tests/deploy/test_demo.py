"""The demo tenant: made the first time, found the second, repaired when its file is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from deploy.local.demo.demo_tenant import ADMIN, Demo, demo_provision
from deploy.local.files import read_env
from inference_worker.registry.models import ServedModel
from inference_worker.registry.services import model_update
from tenants.models import AdminAudit, ApiKey, Membership, Tenant
from tenants.services import key_revoke

pytestmark = pytest.mark.django_db

Provision = Callable[[], Demo]


@pytest.fixture
def said() -> list[str]:
    """What was said on the terminal."""
    return []


@pytest.fixture
def provision(tmp_path: Path, said: list[str]) -> Provision:
    """One start of the stack, as far as the demo tenant goes."""

    def start() -> Demo:
        return demo_provision(
            path=tmp_path / "demo.env",
            base_url="http://127.0.0.1:8000",
            models={"some-model": "/models/some-model", "ft:some": "/adapters/some"},
            say=said.append,
        )

    return start


def test_the_first_start_makes_tenant_key_admin_and_model(provision: Provision, tmp_path: Path) -> None:
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


def test_a_second_start_changes_nothing(provision: Provision, said: list[str]) -> None:
    first = provision()
    audited = AdminAudit.objects.count()
    said.clear()
    assert provision() == first
    assert AdminAudit.objects.count() == audited
    assert said == []


def test_an_adapter_that_was_restricted_stays_restricted(provision: Provision) -> None:
    provision()
    model_update(name="ft:some", actor="tests", visibility="restricted")
    provision()
    assert ServedModel.objects.get(name="ft:some").visibility == "restricted"


def test_a_lost_file_gets_a_new_key_and_a_new_password(
    provision: Provision, tmp_path: Path, said: list[str]
) -> None:
    first = provision()
    (tmp_path / "demo.env").unlink()
    second = provision()
    assert second.key != first.key
    assert ApiKey.objects.count() == 2
    assert Tenant.objects.count() == 1
    assert User.objects.get().check_password(second.admin_password)
    assert not any(second.key in line or second.admin_password in line for line in said)


def test_a_revoked_key_is_replaced_and_the_password_stays(provision: Provision, said: list[str]) -> None:
    first = provision()
    key_revoke(key_id=ApiKey.objects.get().id, actor="tests")
    said.clear()
    second = provision()
    assert second.key != first.key
    assert second.admin_password == first.admin_password
    assert len(said) == 1
    assert said[0].startswith("a new key is in ")


def test_a_file_from_another_database_is_not_believed(provision: Provision, tmp_path: Path) -> None:
    first = provision()
    ApiKey.objects.all().delete()
    assert provision().key != first.key


def test_the_secrets_are_not_in_the_representation(provision: Provision) -> None:
    demo = provision()
    assert demo.key not in repr(demo)
    assert demo.admin_password not in repr(demo)

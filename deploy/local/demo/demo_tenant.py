"""The demo tenant, its API key and an admin user. Requires Django to be set up."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.contrib.auth.models import User
from django.utils import timezone

from deploy.local.files import read_env, write_env
from inference_worker.registry.services import model_register
from tenants.keys.secrets import key_matches, split_key
from tenants.keys.services import key_create
from tenants.members.services import membership_set
from tenants.models import ApiKey, Tenant
from tenants.services import tenant_create

ACTOR = "make run"
TENANT = "demo"
ADMIN = "demo-admin"  # "admin" may already belong to someone in a shared database


@dataclass(frozen=True, slots=True)
class Demo:
    """The contents of ``demo.env``."""

    base_url: str
    key: str = field(repr=False)
    admin_url: str
    admin_user: str
    admin_password: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """Return the variables of the file; the official clients read the first two."""
        return {
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": self.key,
            "CYLLM_ADMIN_URL": self.admin_url,
            "CYLLM_ADMIN_USER": self.admin_user,
            "CYLLM_ADMIN_PASSWORD": self.admin_password,
        }


def provision_demo(
    *, path: Path, base_url: str, models: Mapping[str, str], say: Callable[[str], None]
) -> Demo:
    """Create whatever is missing; a second call writes nothing to the database.

    ``path`` is ``demo.env``, the only copy of the secrets: without it, new ones are created.
    ``models`` maps the names of the model and its adapters to the paths from which workers load them.
    """
    file_values = read_env(path)
    for name, source in models.items():
        model_register(name=name, actor=ACTOR, source=source)
    tenant = Tenant.objects.filter(slug=TENANT).first() or tenant_create(
        slug=TENANT, name="Demo", actor=ACTOR
    )
    key, is_new_key = _key(tenant, file_values.get("OPENAI_API_KEY", ""))
    password, is_new_password = _password(tenant, file_values.get("CYLLM_ADMIN_PASSWORD", ""))
    demo = Demo(f"{base_url}/v1", key, f"{base_url}/admin/", ADMIN, password)
    if demo.environment() != file_values:
        write_env(path, demo.environment())
    if is_new_key and is_new_password:
        say(f"created, with API key and admin login in {path.parent.name}/{path.name}")
    elif is_new_key or is_new_password:
        secret = "API key" if is_new_key else "admin password"
        say(f"new {secret} in {path.name}, because the previous one was missing or invalid")
    return demo


def _key(tenant: Tenant, key: str) -> tuple[str, bool]:
    if _is_valid(tenant, key):
        return key, False
    _, secret = key_create(tenant=tenant, name="demo", actor=ACTOR)
    return secret, True


def _is_valid(tenant: Tenant, key: str) -> bool:
    prefix = split_key(key)
    row = ApiKey.objects.filter(tenant=tenant, prefix=prefix, revoked_at=None).first() if prefix else None
    if row is None or (row.expires_at is not None and row.expires_at <= timezone.now()):
        return False
    return key_matches(key, row.secret_hash)


def _password(tenant: Tenant, file_password: str) -> tuple[str, bool]:
    user = User.objects.filter(username=ADMIN).first()
    if user is not None and file_password:
        return file_password, False
    password = secrets.token_urlsafe(18)
    if user is None:
        user = User.objects.create_superuser(ADMIN, password=password)
    else:
        user.set_password(password)
        user.save(update_fields=["password"])
    membership_set(tenant=tenant, user=user, role="owner", actor=ACTOR)
    return password, True

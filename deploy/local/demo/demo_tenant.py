"""The demo tenant, its key and an admin user. Needs Django to be set up."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.contrib.auth.models import User
from django.utils import timezone

from deploy.local.files import read_env, write_env
from inference_worker.registry.services import model_register
from tenants.keys import key_matches, split_key
from tenants.models import ApiKey, Tenant
from tenants.services import key_create, membership_set, tenant_create

ACTOR = "make run"
TENANT = "demo"
ADMIN = "demo-admin"  # not "admin", which may be somebody's on a database that is shared


@dataclass(frozen=True, slots=True)
class Demo:
    """What ``demo.env`` holds."""

    base_url: str
    key: str = field(repr=False)
    admin_url: str
    admin_user: str
    admin_password: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The names that the file gives them; the first two are the official clients' own."""
        return {
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": self.key,
            "CYLLM_ADMIN_URL": self.admin_url,
            "CYLLM_ADMIN_USER": self.admin_user,
            "CYLLM_ADMIN_PASSWORD": self.admin_password,
        }


def demo_provision(
    *, path: Path, base_url: str, models: Mapping[str, str], say: Callable[[str], None]
) -> Demo:
    """Make what is missing; a second start finds everything and writes nothing to the database.

    ``path`` is ``demo.env``. Secrets are stored nowhere else, so without it they are made anew.
    ``models`` are the names to register, adapters too, with where workers find them.
    """
    kept = read_env(path)
    for name, source in models.items():
        model_register(name=name, actor=ACTOR, source=source)
    tenant = Tenant.objects.filter(slug=TENANT).first() or tenant_create(
        slug=TENANT, name="Demo", actor=ACTOR
    )
    key, new_key = _key(tenant, kept.get("OPENAI_API_KEY", ""))
    password, new_password = _admin(tenant, kept.get("CYLLM_ADMIN_PASSWORD", ""))
    demo = Demo(f"{base_url}/v1", key, f"{base_url}/admin/", ADMIN, password)
    if demo.environment() != kept:
        write_env(path, demo.environment())
    if new_key and new_password:
        say(f"made, its key and admin are in {path.name}")
    elif new_key or new_password:
        what = "key" if new_key else "admin password"
        say(f"a new {what} is in {path.name}: the old one is not known any more")
    return demo


def _key(tenant: Tenant, kept: str) -> tuple[str, bool]:
    if _key_valid(tenant, kept):
        return kept, False
    _, secret = key_create(tenant=tenant, name="demo", actor=ACTOR)
    return secret, True


def _key_valid(tenant: Tenant, kept: str) -> bool:
    prefix = split_key(kept)
    stored = ApiKey.objects.filter(tenant=tenant, prefix=prefix, revoked_at=None).first() if prefix else None
    if stored is None or (stored.expires_at is not None and stored.expires_at <= timezone.now()):
        return False
    return key_matches(kept, stored.secret_hash)


def _admin(tenant: Tenant, kept: str) -> tuple[str, bool]:
    user = User.objects.filter(username=ADMIN).first()
    if user is not None and kept:
        return kept, False
    password = secrets.token_urlsafe(18)
    if user is None:
        user = User.objects.create_superuser(ADMIN, password=password)
    else:
        user.set_password(password)
        user.save(update_fields=["password"])
    membership_set(tenant=tenant, user=user, role="owner", actor=ACTOR)
    return password, True

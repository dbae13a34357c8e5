"""The fixed cast: two tenants with a key each, an owner, a member and a stranger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.snapshots import from_snapshot

if TYPE_CHECKING:  # pytest imports this before Django is set up
    from django.contrib.auth.models import User
    from django.test import Client

    from tenants.models import Tenant

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Cast:
    """Owner and member belong to acme, the stranger to globex. The keys are those that clients send."""

    acme: Tenant
    globex: Tenant
    owner: User
    member: User
    stranger: User
    acme_key: str = field(repr=False)
    globex_key: str = field(repr=False)


@pytest.fixture
def cast(db: None) -> Cast:
    """The cast, created by the services."""
    from django.db import connection

    # Servers outlive tests, cache by ids and record late, so committed rows get new ids in each test.
    return from_snapshot(_create_cast) if connection.in_atomic_block else _create_cast()


@pytest.fixture
def admin(cast: Cast) -> Client:
    """A browser in which the owner is signed in as a superuser."""
    return signed_in(make_superuser(cast.owner))


def make_superuser(user: User) -> User:
    """Make a person a superuser, and return the person."""
    user.is_staff = user.is_superuser = True
    user.save(update_fields=["is_staff", "is_superuser"])
    return user


def signed_in(user: User) -> Client:
    """Return a browser in which a person is signed in."""
    from django.test import Client

    client = Client()
    client.force_login(user)
    return client


def session_key(user: User) -> str:
    """Sign a person in, and return the value of the session cookie."""
    return str(signed_in(user).cookies["sessionid"].value)


def _create_cast() -> Cast:
    from django.contrib.auth.models import User

    from tenants.keys.services import key_create
    from tenants.members.services import membership_set
    from tenants.services import tenant_create

    acme = tenant_create(slug="acme", name="Acme", actor="tests")
    globex = tenant_create(slug="globex", name="Globex", actor="tests")
    owner, member, stranger = (
        User.objects.create_user(name, password=PASSWORD) for name in ("owner", "member", "stranger")
    )
    membership_set(tenant=acme, user=owner, role="owner", actor="tests")
    membership_set(tenant=acme, user=member, role="member", actor="tests")
    membership_set(tenant=globex, user=stranger, role="owner", actor="tests")
    _, acme_key = key_create(tenant=acme, name="acme", actor="tests")
    _, globex_key = key_create(tenant=globex, name="globex", actor="tests")
    return Cast(acme, globex, owner, member, stranger, acme_key, globex_key)

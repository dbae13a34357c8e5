"""Clients of the administrative API: the cast's keys and sessions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # pytest imports this before Django is set up
    from django.contrib.auth.models import User

    from tests.people import Cast

ROOT = "/api/admin/v1/"


@dataclass
class ApiClient:
    """A client of one caller: a key or a signed-in person."""

    key: str = field(default="", repr=False)
    user: User | None = None

    def __call__(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request; underscores in names of headers stand for hyphens."""
        from django.test import Client

        client = Client(raise_request_exception=False)
        if self.user is not None:
            client.force_login(self.user)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.key:
            fields.setdefault("authorization", f"Bearer {self.key}")
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        response = client.generic(method, ROOT + path, data, content_type="application/json", headers=fields)
        return Answer(response.status_code, json.loads(response.content or b"null"), response.headers)


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def error(self) -> tuple[int, str, str | None]:
        """Status, code and parameter of an error."""
        return self.status, self.body["error"]["code"], self.body["error"]["param"]

    @property
    def etag(self) -> str:
        """The version of the object."""
        return self.headers["ETag"]


@pytest.fixture
def operator(cast: Cast) -> ApiClient:
    """A superuser without any role."""
    from django.contrib.auth.models import User

    return ApiClient(user=User.objects.create_superuser("boss"))


@pytest.fixture
def owner(cast: Cast) -> ApiClient:
    """The owner of acme."""
    return ApiClient(user=cast.owner)


@pytest.fixture
def member(cast: Cast) -> ApiClient:
    """A member of acme."""
    return ApiClient(user=cast.member)


@pytest.fixture
def stranger(cast: Cast) -> ApiClient:
    """The owner of globex, a stranger to acme."""
    return ApiClient(user=cast.stranger)


NewKey = Callable[..., ApiClient]


@pytest.fixture
def with_key(cast: Cast) -> NewKey:
    """A function that returns a client with a new key of acme that has these scopes."""
    from tenants.keys.services import key_create

    numbers = itertools.count(1)

    def create(*scopes: str, **settings: Any) -> ApiClient:
        settings.setdefault("tenant", cast.acme)
        name = f"api {next(numbers)}"
        return ApiClient(key=key_create(name=name, scopes=scopes, actor="tests", **settings)[1])

    return create


@pytest.fixture
def viewer(cast: Cast) -> ApiClient:
    """A viewer of acme."""
    from django.contrib.auth.models import User

    from tenants.members.services import membership_set

    user = User.objects.create_user("viewer")
    membership_set(tenant=cast.acme, user=user, role="viewer", actor="tests")
    return ApiClient(user=user)

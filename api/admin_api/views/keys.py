"""API keys of a tenant."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from api.admin_api.access import MANAGE, READ, USE
from api.admin_api.base import AdminView, answer
from api.admin_api.document import IDEMPOTENCY_KEY, IF_MATCH, KEY_ID, operation
from api.admin_api.idempotency import idempotent
from api.admin_api.paging import page
from api.admin_api.schemas import keys as schemas
from api.admin_api.versions import check_version, etag
from api.admin_api.views.tenants import columns, limits_of
from api.openai.errors.administration import InsufficientRole, ObjectNotFound
from api.openai.errors.base import printable
from tenants.choices import Role
from tenants.keys import services as key_services
from tenants.keys.selectors import KeyState, key_state, key_state_condition
from tenants.members.roles import can_grant_scopes, can_manage_key, can_manage_service_accounts
from tenants.models import ApiKey, ServiceAccount


def _values(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant.slug,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "state": str(key_state(key, timezone.now())),
        "user": key.user.get_username() if key.user else None,
        "service_account": key.service_account.name if key.service_account else None,
        "allowed_networks": list(key.allowed_networks),
        "limits": limits_of(key),
        "replaces": key.replaces_id,
        "created_by": key.created_by.get_username() if key.created_by else None,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "last_refused_at": key.last_refused_at,
    }


def _key(key: ApiKey) -> schemas.Key:
    return schemas.Key.model_validate(_values(key))


class _KeyView(AdminView):
    """The base of the views of keys: rows of the tenant, and the rights of its members."""

    access = {}

    def rows(self) -> QuerySet[ApiKey]:
        """Return the tenant's keys with their holders."""
        keys = ApiKey.objects.filter(tenant=self.tenant)
        return keys.select_related("tenant", "user", "service_account", "created_by")

    def find(self, key_id: uuid.UUID | str) -> ApiKey:
        """Return a key of the tenant. Raises ObjectNotFound, also if the id is not a UUID."""
        try:
            key = self.rows().filter(pk=key_id).first()
        except ValidationError:
            key = None
        if key is None:
            raise ObjectNotFound(kind="API key", name=printable(str(key_id)))
        return key

    def find_changeable(self, key_id: str) -> ApiKey:
        """Return a key that the caller may change. Raises ObjectNotFound, InsufficientRole."""
        key = self.find(key_id)
        user_id = self.caller.user.pk if self.caller.user else 0
        if not can_manage_key(self._role, user_id, key):
            raise InsufficientRole(
                required=MANAGE.name + ", for keys of others", role=f"the role {self._role}"
            )
        return key

    def check_scopes(self, scopes: list[schemas.ScopeName]) -> None:
        """Check that the caller's role may give a key these scopes. Raises InsufficientRole."""
        if not can_grant_scopes(self._role, scopes):
            raise InsufficientRole(
                required=MANAGE.name + ", for administrative scopes", role=f"the role {self._role}"
            )

    def calling_key(self) -> ApiKey | None:
        """Return the key that sent the request, None for a person. Raises ObjectNotFound."""
        return None if self.caller.key_id is None else self.find(self.caller.key_id)

    def creator(self, calling_key: ApiKey | None) -> User | None:
        """Return the person behind the caller, whose rate the keys share that the caller creates."""
        return self.caller.user if calling_key is None else calling_key.user or calling_key.created_by

    @property
    def _role(self) -> str:
        return self.caller.role(self.tenant.pk) or Role.VIEWER


class KeysView(_KeyView):
    """API keys."""

    access = {"GET": READ, "POST": USE}

    @operation("List API keys", schemas.KeyList, query=schemas.KeysQuery)
    def get(self, request: Request) -> Response:
        """List keys."""
        query, rows = self.query(schemas.KeysQuery), self.rows()
        if query.state is not None:
            rows = rows.filter(key_state_condition(KeyState(query.state), timezone.now()))
        return answer(schemas.KeyList(**page(rows, query, ["-created_at", "-id"], _key)))

    @operation(
        "Create an API key; the answer has its secret",
        schemas.KeyWithSecret,
        status=201,
        body=schemas.NewKey,
        parameters=[IDEMPOTENCY_KEY],
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Create a key."""
        body = self.body(schemas.NewKey)
        self.check_scopes(body.scopes)
        values: dict[str, Any] = columns(body.changes())
        # A key that a key creates gets the same holder, and ends with it.
        parent = self.calling_key()
        account = self._account(values.pop("service_account", None))
        if account is None and parent is not None:
            account = parent.service_account
        key, secret = key_services.key_create(
            tenant=self.tenant,
            actor=self.caller.actor,
            created_by=self.creator(parent),
            service_account=account,
            is_of_tenant=parent is not None and parent.user is None,
            **values,
        )
        return with_secret(self.find(key.pk), secret)

    def _account(self, name: str | None) -> ServiceAccount | None:
        if name is None:
            return None
        if not can_manage_service_accounts(self._role):
            raise InsufficientRole(required=MANAGE.name, role=f"the role {self._role}")
        account = ServiceAccount.objects.filter(tenant=self.tenant, name=name).first()
        if account is None:
            raise ObjectNotFound(kind="service account", name=name)
        return account


class KeyView(_KeyView):
    """One API key."""

    access = {"GET": READ, "PATCH": USE}

    @operation("Get an API key", schemas.Key, parameters=[KEY_ID])
    def get(self, request: Request, key_id: str) -> Response:
        """Return the key."""
        body = _key(self.find(key_id))
        return answer(body, ETag=etag(body))

    @operation("Change an API key", schemas.Key, body=schemas.KeyPatch, parameters=[KEY_ID, IF_MATCH])
    def patch(self, request: Request, key_id: str) -> Response:
        """Change the key."""
        body = self.body(schemas.KeyPatch)
        key_pk = self.find_changeable(key_id).pk
        if "scopes" in body.model_fields_set:
            self.check_scopes(body.scopes)
        values: dict[str, Any] = columns(body.changes())
        with transaction.atomic():
            key_services.key_lock(key_pk)
            check_version(request, _key(self.find(key_pk)))
            key_services.key_update(key_id=key_pk, actor=self.caller.actor, **values)
        key = _key(self.find(key_pk))
        return answer(key, ETag=etag(key))


class KeyRotationView(_KeyView):
    """Rotations of a key."""

    access = {"POST": USE}

    @operation(
        "Rotate an API key; the answer is its successor with the secret",
        schemas.KeyWithSecret,
        status=201,
        body=schemas.Rotation,
        parameters=[KEY_ID, IDEMPOTENCY_KEY],
    )
    @idempotent
    def post(self, request: Request, key_id: str) -> Response:
        """Rotate the key."""
        body = self.body(schemas.Rotation)
        key = self.find_changeable(key_id)
        successor, secret = key_services.key_rotate(
            key_id=key.pk,
            grace_s=body.grace_s,
            actor=self.caller.actor,
            created_by=self.creator(self.calling_key()),
            expires_at=body.expires_at,
        )
        return with_secret(self.find(successor.pk), secret)


class KeyRevocationView(_KeyView):
    """The revocation of a key."""

    access = {"POST": USE}

    @operation("Revoke an API key", schemas.Key, parameters=[KEY_ID, IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, key_id: str) -> Response:
        """Revoke the key. Repeating it changes nothing."""
        key = self.find_changeable(key_id)
        key_services.key_revoke(key_id=key.pk, actor=self.caller.actor)
        body = _key(self.find(key.pk))
        return answer(body, ETag=etag(body))


def with_secret(key: ApiKey, secret: str) -> Response:
    """Return the answer to the creation of a key."""
    body = schemas.KeyWithSecret.model_validate(_values(key) | {"secret": secret})
    return answer(body, 201, ETag=etag(_key(key)))

"""Tenants and members."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from api.admin_api.access import OPERATE, OWN, READ, RENAME
from api.admin_api.base import AdminView, answer
from api.admin_api.callers import Caller
from api.admin_api.document import IDEMPOTENCY_KEY, IF_MATCH, operation
from api.admin_api.idempotency import idempotent
from api.admin_api.paging import page
from api.admin_api.schemas import tenants as schemas
from api.admin_api.schemas.base import Deleted
from api.admin_api.versions import check_version, etag
from api.openai.errors.administration import InsufficientRole, ObjectNotFound
from api.openai.errors.base import printable
from tenants import services
from tenants.limits.columns import LimitColumns
from tenants.members import services as member_services
from tenants.models import Membership, Tenant

OWNER_FIELDS = frozenset({"name"})


def limits_of(row: LimitColumns) -> schemas.Limits:
    """Return the limits of a tenant or a key."""
    return schemas.Limits(
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        concurrent_requests=row.concurrent_requests,
        spend_per_day_microusd=row.spend_per_day_microusd,
        spend_per_month_microusd=row.spend_per_month_microusd,
        allowed_models=list(row.allowed_models),
    )


def columns(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes with the limits as columns of their own."""
    limits = changes.pop("limits", None)
    return changes | (limits.changes() if limits is not None else {})


def _tenant(tenant: Tenant, caller: Caller) -> schemas.Tenant:
    return schemas.Tenant.model_validate(
        {
            "id": tenant.id,
            "slug": tenant.slug,
            "name": tenant.name,
            "active": tenant.active,
            "tier": tenant.tier,
            "stored_bytes": tenant.stored_bytes,
            "audit_keep_days": tenant.audit_keep_days,
            "limits": limits_of(tenant),
            "role": caller.role(tenant.pk),
            "created_at": tenant.created_at,
        }
    )


class TenantsView(AdminView):
    """Tenants."""

    access = {"GET": READ, "POST": OPERATE}

    @operation("List the tenants of the caller", schemas.TenantList, query=schemas.TenantsQuery)
    def get(self, request: Request) -> Response:
        """List tenants."""
        query = self.query(schemas.TenantsQuery)
        rows = Tenant.objects.all()
        if not self.caller.is_operator:
            rows = rows.filter(pk__in=list(self.caller.roles))
        if query.active is not None:
            rows = rows.filter(active=query.active)
        fields = page(rows, query, ["slug"], lambda tenant: _tenant(tenant, self.caller))
        return answer(schemas.TenantList(**fields))

    @operation(
        "Create a tenant",
        schemas.Tenant,
        status=201,
        body=schemas.NewTenant,
        parameters=[IDEMPOTENCY_KEY],
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Create a tenant."""
        values: dict[str, Any] = columns(self.body(schemas.NewTenant).changes())
        body = _tenant(services.tenant_create(actor=self.caller.actor, **values), self.caller)
        return answer(body, 201, ETag=etag(body))


class TenantView(AdminView):
    """One tenant."""

    access = {"GET": READ, "PATCH": RENAME}

    @operation("Get a tenant", schemas.Tenant)
    def get(self, request: Request) -> Response:
        """Return the tenant."""
        body = _tenant(self.tenant, self.caller)
        return answer(body, ETag=etag(body))

    @operation("Change a tenant", schemas.Tenant, body=schemas.TenantPatch, parameters=[IF_MATCH])
    def patch(self, request: Request) -> Response:
        """Change the tenant."""
        changes = self.body(schemas.TenantPatch).changes()
        if not self.caller.is_operator and not changes.keys() <= OWNER_FIELDS:
            names = ", ".join(sorted(changes.keys() - OWNER_FIELDS))
            role = f"the role {self.caller.role(self.tenant.pk)}"
            raise InsufficientRole(required=f"an operator of the platform to change {names}", role=role)
        values: dict[str, Any] = columns(changes)
        with transaction.atomic():
            tenant = Tenant.objects.select_for_update().get(pk=self.tenant.pk)
            check_version(request, _tenant(tenant, self.caller))
            tenant = services.tenant_update(tenant_id=tenant.pk, actor=self.caller.actor, **values)
        body = _tenant(tenant, self.caller)
        return answer(body, ETag=etag(body))


def _member(membership: Membership) -> schemas.Member:
    return schemas.Member.model_validate(
        {
            "username": membership.user.get_username(),
            "role": membership.role,
            "active": membership.user.is_active,
            "created_at": membership.created_at,
        }
    )


class MembersView(AdminView):
    """Members of a tenant."""

    access = {"GET": READ}

    @operation("List members", schemas.MemberList, query=schemas.MembersQuery)
    def get(self, request: Request) -> Response:
        """List members."""
        query = self.query(schemas.MembersQuery)
        rows = self.tenant.memberships.select_related("user")
        if query.role is not None:
            rows = rows.filter(role=query.role)
        return answer(schemas.MemberList(**page(rows, query, ["user__username"], _member)))


class MemberView(AdminView):
    """One member of a tenant."""

    access = {"GET": READ, "PUT": OWN, "DELETE": OWN}

    @operation("Get a member", schemas.Member)
    def get(self, request: Request, username: str) -> Response:
        """Return the member."""
        return answer(_member(self._find(username)))

    @operation("Add a member, or change the role", schemas.Member, body=schemas.MemberBody)
    def put(self, request: Request, username: str) -> Response:
        """Set the person's role."""
        role = self.body(schemas.MemberBody).role
        user = User.objects.filter(username=username).first()
        if user is None:
            raise ObjectNotFound(kind="user", name=printable(username))
        membership = member_services.membership_set(
            tenant=self.tenant, user=user, role=role, actor=self.caller.actor
        )
        return answer(_member(membership))

    @operation("Remove a member, and revoke the member's keys", Deleted)
    def delete(self, request: Request, username: str) -> Response:
        """Remove the member."""
        user = self._find(username).user
        try:
            member_services.membership_remove(tenant=self.tenant, user=user, actor=self.caller.actor)
        except Membership.DoesNotExist:  # another request has removed it meanwhile
            raise ObjectNotFound(kind="member", name=printable(username)) from None
        return answer(Deleted(object="member", id=username))

    def _find(self, username: str) -> Membership:
        rows = self.tenant.memberships.select_related("user").filter(user__username=username)
        membership = rows.first()
        if membership is None:
            raise ObjectNotFound(kind="member", name=printable(username))
        return membership

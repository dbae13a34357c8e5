"""Migrations of data, and of tables that older processes still write."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from tenants.models import AdminAudit, ApiKey

BEFORE = "0002_admin_audit_append_only"


@pytest.mark.django_db(transaction=True)
def test_a_key_loses_a_removed_scope_and_keeps_the_others() -> None:
    executor = MigrationExecutor(connection)
    # Of all apps: those that depend on this one are migrated back with it.
    latest = executor.loader.graph.leaf_nodes()
    executor.migrate([("tenants", BEFORE)])
    old = executor.loader.project_state([("tenants", BEFORE)]).apps
    tenant = old.get_model("tenants", "Tenant").objects.create(slug="acme", name="Acme")
    for prefix, scopes in (("aaaaaaaaaaaa", ["inference", "admin"]), ("bbbbbbbbbbbb", ["admin"])):
        old.get_model("tenants", "ApiKey").objects.create(
            id=uuid.uuid4(), tenant=tenant, name="k", prefix=prefix, secret_hash="0" * 64, scopes=scopes
        )
    MigrationExecutor(connection).migrate(latest)
    scopes_by_prefix = dict(ApiKey.objects.values_list("prefix", "scopes"))
    assert scopes_by_prefix == {"aaaaaaaaaaaa": ["inference"], "bbbbbbbbbbbb": []}


@pytest.mark.django_db
def test_processes_of_the_version_before_record_changes_after_the_migration() -> None:
    loader = MigrationExecutor(connection).loader
    old = loader.project_state([("tenants", "0011_playground_keys")]).apps
    values = {"actor": "user:a", "action": "key.create", "object_id": "k", "object_name": "k"}
    old.get_model("tenants", "AdminAudit").objects.create(**values)
    assert AdminAudit.objects.get().request_id == ""

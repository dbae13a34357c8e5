"""Queries in the packages of the API say whose rows they read; those of all tenants say so as well."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.db.models import Model

from backoffice.tenant_rows import TenantRows
from tenants.models import ApiKey
from tests.people import Cast

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("api/console", "api/admin_api", "api/gateway", "api/stored_responses")
# New rows have their tenant in their values.
EXPLICIT = frozenset({"for_tenant", "across_tenants", "create", "bulk_create"})
# Rows of a job are read by the job, which was read as a tenant's.
SCOPES = {"tenant": ("tenant",), "job": ("job", "tenant")}

pytestmark = pytest.mark.criterion("6.2")


def owned_models() -> dict[str, str]:
    """Return the names of the models whose rows belong to a tenant, or to a job of one, with the column."""
    tenant_models = {}
    for model in apps.get_models():
        columns = {field.name.removesuffix("_id") for field in model._meta.fields}
        if column := next((name for name in SCOPES if name in columns), None):
            tenant_models[model.__name__] = column
    return tenant_models


def owned_by_tenants() -> list[type[Model]]:
    """Return the platform's models with a tenant."""
    names = owned_models()
    packages = ("tenants", "training", "inference_worker", "api")
    models = [model for model in apps.get_models() if model.__module__.startswith(packages)]
    return [model for model in models if model.__name__ in names]


@pytest.mark.parametrize("model", owned_by_tenants(), ids=lambda model: model.__name__)
def test_rows_with_a_tenant_have_the_manager_that_names_it(model: type[Model]) -> None:
    assert isinstance(model._default_manager.all(), TenantRows)


def queries(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the model's name and the whole chain of calls for each use of a manager."""
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in ("objects", "_default_manager"):
            continue
        chain: ast.expr = node
        while isinstance(parent := parents[chain], ast.Attribute | ast.Call) and (
            isinstance(parent, ast.Attribute) or parent.func is chain
        ):
            chain = parent
        yield ast.unparse(node.value), chain


def is_scoped(chain: ast.expr, column: str) -> bool:
    """Return whether a chain of calls names the tenant, or says that it reads the rows of all."""
    for node in ast.walk(chain):
        if isinstance(node, ast.Attribute) and node.attr in EXPLICIT:
            return True
        if (
            isinstance(node, ast.keyword)
            and node.arg
            and node.arg.split("__")[0].removesuffix("_id") in SCOPES[column]
        ):
            return True
        if isinstance(node, ast.keyword) and node.arg and "tenant" in node.arg.split("__"):
            return True
    return False


def unscoped(source: str) -> list[str]:
    """Return the queries of a module that name no tenant."""
    tenant_models = owned_models()
    return [
        ast.unparse(chain)
        for name, chain in queries(ast.parse(source))
        if name in tenant_models and not is_scoped(chain, tenant_models[name])
    ]


def test_no_query_of_the_api_forgets_the_tenant() -> None:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    faults = {str(path.relative_to(ROOT)): unscoped(path.read_text()) for path in paths}
    assert {path: path_faults for path, path_faults in faults.items() if path_faults} == {}


@pytest.mark.parametrize(
    ("source", "is_fault"),
    [
        ("ApiKey.objects.filter(prefix=p).first()", True),
        ("list(UsageRecord.objects.all())", True),
        ("StoredFile.objects.get(id=i)", True),
        ("JobEvent.objects.filter(type=t)", True),
        ("ApiKey.objects.for_tenant(t).filter(prefix=p)", False),
        ("ApiKey.objects.across_tenants().count()", False),
        ("ApiKey.objects.filter(Q(tenant_id=t) & Q(prefix=p))", False),
        ("JobEvent.objects.filter(job_id=j)", False),
        ("User.objects.filter(pk=1)", False),
    ],
)
def test_the_check_finds_a_query_without_a_tenant(source: str, is_fault: bool) -> None:
    assert bool(unscoped(source)) is is_fault


def test_rows_of_a_tenant_are_read_by_object_or_id(cast: Cast) -> None:
    for tenant in (cast.acme, cast.acme.id, str(cast.acme.id)):
        assert [key.name for key in ApiKey.objects.for_tenant(tenant)] == ["acme"]
    assert ApiKey.objects.across_tenants().count() == 2

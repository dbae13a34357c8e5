"""The document of the administrative API, and requests that schemathesis generates from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.conf import settings as django_settings
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.test import Client
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.admin_api.views.document import admin_document
from inference_worker.registry.services import model_register
from tenants.models import ApiKey
from tests.admin_api.conftest import ApiClient
from tests.people import Cast

pytestmark = pytest.mark.django_db

SEED = 20261125
EXAMPLES = 5
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
TOKEN = "a" * 32


@pytest.fixture
def kept_connection() -> Iterator[None]:
    """Let a request not close the connection whose transaction the test is in."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def test_the_document_that_is_checked_in_is_current() -> None:
    path = Path(__file__).parents[2] / "docs" / "admin-openapi.json"
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(admin_document()))


def test_the_document_is_served_to_everybody() -> None:
    assert ApiClient()("GET", "openapi.json").body["info"]["title"] == "CY-LLM administration"


def test_every_operation_has_a_summary_a_name_of_its_own_and_its_errors() -> None:
    operations = [entry for methods in admin_document()["paths"].values() for entry in methods.values()]
    assert len({entry["operationId"] for entry in operations}) == len(operations) > 35
    assert all(entry["summary"] for entry in operations)
    assert all(
        {"400", "401", "403", "404", "500", "503"} <= entry["responses"].keys() for entry in operations
    )


@pytest.mark.criterion("6.6")
@pytest.mark.usefixtures("kept_connection")
def test_answers_to_generated_requests_match_the_document(
    operator: ApiClient, cast: Cast, redis_client: object
) -> None:
    model_register(name="org/base", actor="tests")
    key = ApiKey.objects.get(tenant=cast.acme)
    values = {"tenant": "acme", "username": "member", "key_id": str(key.pk), "name": "org/base"}
    client = Client()
    assert operator.user is not None
    client.force_login(operator.user)
    session = client.cookies[django_settings.SESSION_COOKIE_NAME].value
    cookies = {django_settings.SESSION_COOKIE_NAME: session, "csrftoken": TOKEN}
    statuses: Counter[int] = Counter()
    for operation in _operations():
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            statuses += _ask(operation, mode, cookies, values)
    # Both kinds of requests reach the views, and get more than one kind of answer.
    assert statuses[200] > 100, statuses
    assert statuses[201] > 5, statuses
    assert statuses[400] > 100, statuses
    assert statuses[404] > 20, statuses


def _operations() -> list[Any]:
    schema = schemathesis.openapi.from_wsgi("/api/admin/v1/openapi.json", get_wsgi_application())
    return [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]


def _ask(
    operation: Any, mode: GenerationMode, cookies: dict[str, str], values: dict[str, str]
) -> Counter[int]:
    statuses: Counter[int] = Counter()
    number = 0

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: schemathesis.Case[Any]) -> None:
        nonlocal number
        number += 1
        if number % 4:  # the others ask for objects that don't exist
            path_values = {
                name: value for name, value in values.items() if name in (case.path_parameters or {})
            }
            case.path_parameters = {**(case.path_parameters or {}), **path_values}
        case.headers.pop("Authorization", None)
        if number % 3:
            case.headers["If-Match"] = "*"
        case.cookies.clear()
        with transaction.atomic():
            answer = case.call(cookies=cookies, headers={"X-CSRFToken": TOKEN})
            transaction.set_rollback(True)
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    try:
        one()
    except schemathesis.errors.InvalidSchema:  # nothing about this operation can be wrong
        assert mode is GenerationMode.NEGATIVE
    return statuses

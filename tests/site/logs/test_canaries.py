"""Canaries sent to every URL and into every error path appear in no log line, record, fact or count."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from api.gateway.http.url_table import Route
from api.gateway.urls.table import INTERNAL_URLS, URLS
from deploy.local.processes.supervisor import Supervisor
from inference_worker.protocol.names import FACTS_STREAM
from tests.gateway.harness.calls import BODIES
from tests.patience import PATIENCE_S
from tests.site_server import running_site

pytestmark = [pytest.mark.criterion("6.7"), pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).resolve().parents[3]
NAME = "canary-server"
PROMPT = "zebra-canary the prompt of a client"
EMAIL = "canary.person@mail.example"
CARD = "4111 1111 1111 1111"
CANARIES = {
    "prompt": PROMPT,
    "e-mail": EMAIL,
    "card": CARD,
    "card without spaces": CARD.replace(" ", ""),
    "key of another service": "sk-proj-" + "canary" * 6,
}
# Parts of canaries that no sink may contain: each is long enough to be recognised.
TRACES = ("zebra-canary", "canary.person", "4111 1111", "4111111111", "canarycanary")


@pytest.fixture(scope="module")
def server(
    test_servers: Supervisor, django_db_setup: None, postgres_url: str, redis_url: str
) -> Iterator[int]:
    """The port of a gateway that logs all that it can."""
    with running_site(test_servers, NAME, CYLLM_LOG_LEVEL="DEBUG") as number:
        yield number


def path_of(route: Route, value: str) -> str:
    """Return the path of a route with a value for its parameter."""
    start, _, rest = route.template.partition("{")
    return start + urllib.parse.quote(value) + rest.partition("}")[2] if rest else start


def bodies(route: Route, value: str) -> Iterator[dict[str, Any]]:
    """Yield bodies with a canary: as JSON in fields, as names of fields, and as no JSON at all."""
    if route.method != "POST":
        return
    valid = BODIES.get(route.template, {"model": "tiny"})
    message = {"role": "user", "content": value, value: value}
    for changes in (
        {"messages": [{"role": "user", "content": value}], "prompt": value, "input": value, "user": value},
        {"model": value},
        {value: value},
        {"messages": [message], "tools": [{"type": "function", "function": {"name": value}}]},
        {"temperature": value, "stream": value, "metadata": {value: value}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": value, "schema": {"$ref": value}},
            }
        },
        {"training_file": value, "suffix": value, "hyperparameters": {"n_epochs": value}},
    ):
        yield {"json": {**valid, **changes}}
    yield {"content": f'{{"model": "tiny", "messages": "{value}'}
    yield {"content": f'{{"{value}": 1, "{value}": 2}}', "headers": {"content-type": "application/json"}}
    yield {"json": {"model": "tiny"}, "headers": {"content-type": f"text/plain; name={value}"}}
    yield {"files": {"file": (value, value.encode(), "text/plain")}, "data": {"purpose": value, value: value}}


def requests_of(route: Route, value: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield requests with a canary in every part."""
    path = path_of(route, value)
    yield route.method, path, {}
    yield route.method, path, {"params": {"after": value, "limit": value, value: value}}
    for name in ("openai-organization", "openai-project", "user-agent", "cookie", "accept", "origin"):
        yield route.method, path, {"headers": {name: value}}
    yield "PATCH", path, {"headers": {"x-request-id": value, "referer": f"https://x/{value}"}}
    for body in bodies(route, value):
        yield route.method, path, body


def pages(value: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield requests for pages and for no page at all."""
    quoted_value = urllib.parse.quote(value)
    for path in (
        f"/v1/{quoted_value}",
        f"/{quoted_value}",
        f"/console/{quoted_value}/jobs/",
        f"/admin/{quoted_value}/",
        "/docs",
    ):
        yield "GET", path, {"params": {"q": value}}
    for path in (
        "/console/sign-in/",
        "/console/zebra-canary/jobs/",
        "/admin/tenants/tenant/zebra-canary/change/",
    ):
        for name in ("origin", "referer"):
            yield (
                "POST",
                path,
                {"headers": {name: f"https://{value}", "accept": "text/html"}, "data": {"q": value}},
            )
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "emVicmEtY2FuYXJ5LXplYg==",
        "origin": f"https://{value}",
    }
    for path in (f"/{quoted_value}", "/console/ws/zebra-canary/jobs/ftjob-canarycanary/"):
        yield "GET", path, {"headers": upgrade, "params": {"after": value}}
    yield "GET", "/v1/models", {"headers": {"zebra-canary": value, "x-zebra-canary-4111111111": "1"}}
    for path in ("/admin/login/", "/console/sign-in/", "/console/sign-in/code/"):
        yield "POST", path, {"data": {"username": value, "password": value, "code": value}}
    yield "POST", "/api/admin/v1/tenants", {"json": {"slug": value, value: value}}
    yield "GET", f"/api/admin/v1/tenants/{quoted_value}", {"params": {value: value}}


def sends(live_key: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return every request: all routes with the key, with wrong ones and without."""
    routes = (*URLS.routes, *INTERNAL_URLS.routes)
    requests = [
        each for route, value in product(routes, CANARIES.values()) for each in requests_of(route, value)
    ]
    requests += [each for value in CANARIES.values() for each in pages(value)]
    wrong_key = live_key[:-1] + ("A" if live_key[-1] != "A" else "B")
    for credentials in (f"Basic {EMAIL}", f"Bearer {PROMPT}", f"Bearer {wrong_key}", CARD, live_key):
        requests += [(route.method, path_of(route, "x"), {"auth": credentials}) for route in routes]
    return requests


def send(client: httpx.Client, key: str, request: tuple[str, str, dict[str, Any]]) -> int:
    """Send a request and return its status; 0 if the server closed the connection."""
    method, path, options = request
    headers = {"authorization": options.pop("auth", f"Bearer {key}"), **options.pop("headers", {})}
    header_pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    try:
        return client.request(method, path, headers=header_pairs, **options).status_code
    except httpx.TransportError:
        return 0


def stored_rows() -> str:
    """Return all records about requests and changes as one text."""
    from tenants.models import AdminAudit, ApiKey, AuditRecord, UsageRecord
    from tenants.usage.models import RefusalCount, UsageRollup

    models = (AuditRecord, UsageRecord, AdminAudit, RefusalCount, UsageRollup, ApiKey)
    return "\n".join(json.dumps(list(model.objects.values()), default=str) for model in models)


def found(text: str, secret: str) -> set[str]:
    """Return the traces of canaries in a text."""
    return {trace for trace in (*TRACES, secret) if trace in text}


def test_no_canary_appears_in_a_log_line_a_record_or_a_fact(
    server: int, test_servers: Supervisor, redis_client: redis.Redis, live_key: str
) -> None:
    from tenants.ledger.drain import ledger_drain
    from tenants.models import AuditRecord

    secret = live_key.split("-", 3)[3]
    requests = sends(live_key)
    with httpx.Client(base_url=f"http://127.0.0.1:{server}", timeout=PATIENCE_S) as client:
        statuses = [send(client, live_key, request) for request in requests]
    assert len(requests) > 1000
    assert {200, 400, 401, 403, 404, 405} <= set(statuses)
    assert not {status for status in statuses if status >= 500} - {503}
    entries = redis_client.xrange(FACTS_STREAM)
    assert len(str(entries)) > 100_000
    assert found(str(entries), secret) == set()
    while ledger_drain(redis_client):
        pass
    assert AuditRecord.objects.count() > 100
    assert found(stored_rows(), secret) == set()
    test_servers.stop(NAME)
    text = test_servers.log_path(NAME).read_text(errors="replace")
    assert text.count(" cyllm.request ") > 1000
    assert [line for line in text.splitlines() if found(line, secret)] == []

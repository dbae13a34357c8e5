"""Requests as Azure OpenAI's clients send them: the key in ``api-key``, the model in the path."""

from __future__ import annotations

from typing import Any

import pytest

from api.gateway.app import Gateway
from api.gateway.http.azure_paths import resolve_azure_path
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import BODIES, CHAT, body_for
from tests.gateway.harness.driver import call
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import body_script

DEPLOYMENT = "/openai/deployments/{}/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/openai/deployments/tiny/chat/completions", (CHAT, "tiny")),
        ("/openai/deployments/org/private/embeddings", ("/v1/embeddings", "org/private")),
        ("/openai/deployments/ft:tiny:acme::1/completions", ("/v1/completions", "ft:tiny:acme::1")),
        ("/v1/deployments/tiny/chat/completions", (CHAT, "tiny")),
        ("/openai/v1/responses", ("/v1/responses", None)),
        ("/openai/files/a/content", ("/v1/files/a/content", None)),
        ("/openai", ("/openai", None)),
        ("/openai/v1", ("/v1/v1", None)),
        ("/v1/deployments/tiny", ("/v1/deployments/tiny", None)),
        ("/v1/models/deployments/x/embeddings", ("/v1/models/deployments/x/embeddings", None)),
        ("/openai/internal/artifacts", ("/v1/internal/artifacts", None)),
    ],
)
def test_paths_of_azure_clients(path: str, expected: tuple[str, str | None]) -> None:
    assert resolve_azure_path(path) == expected


@pytest.mark.criterion("1.8")
async def test_the_key_may_be_in_either_header(gateway: Gateway, keys: Keys) -> None:
    acme, globex = f"Bearer {keys.acme}", keys.globex
    wrong = keys.acme[:-1] + ("A" if keys.acme[-1] != "A" else "B")
    cases: list[tuple[str, str, int, str | None]] = [
        ("", keys.acme, 200, None),
        (acme, keys.acme, 200, None),
        (acme, " ", 200, None),
        ("", " ", 401, "missing_api_key"),
        (acme, globex, 401, "conflicting_api_keys"),
        (acme, wrong, 401, "conflicting_api_keys"),
        ("Basic dXNlcjpwYXNz", keys.acme, 401, "invalid_authorization"),
        ("", acme, 401, "invalid_api_key"),
        ("", f"{keys.acme}, {keys.acme}", 401, "invalid_api_key"),
        ("", wrong, 401, "invalid_api_key"),
        ("", "\xff\xfe", 401, "invalid_api_key"),
        ("", keys.revoked_key, 401, "key_revoked"),
        ("", keys.inactive, 403, "tenant_inactive"),
    ]
    for authorization, api_key, status, code in cases:
        headers = {"authorization": authorization, "api-key": api_key}
        reply = await call(gateway, "GET", "/v1/models", headers=headers)
        assert (reply.status, code and reply.error["code"]) == (status, code), (authorization, api_key)
        assert ("www-authenticate" in reply.headers) == (status == 401)


async def _ask(gateway: Gateway, keys: Keys, deployment: str, body: Any) -> tuple[int, str | None]:
    reply = await call(
        gateway, "POST", DEPLOYMENT.format(deployment), body=body, headers={"api-key": keys.acme}
    )
    return reply.status, reply.error["param"] if reply.status != 200 else None


async def test_the_path_and_the_body_name_one_model(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [body_script() for _ in range(3)]
    assert await _ask(gateway, keys, "tiny", BODIES[CHAT]) == (200, None)
    assert await _ask(gateway, keys, "tiny", body_for(CHAT, model=...)) == (200, None)
    assert await _ask(gateway, keys, "tiny", body_for(CHAT, model=None)) == (200, None)
    assert await _ask(gateway, keys, "default", BODIES[CHAT]) == (400, "model")
    assert await _ask(gateway, keys, "tiny", body_for(CHAT, model=1)) == (400, "model")
    assert await _ask(gateway, keys, "nobody", body_for(CHAT, model=...)) == (404, "model")
    assert await _ask(gateway, keys, "tiny", ["no object"]) == (400, None)
    assert [call_.model for call_ in client.calls] == ["tiny"] * 3


async def test_the_version_of_azures_api_has_no_effect(gateway: Gateway, keys: Keys) -> None:
    headers = {"api-key": keys.acme}
    files = await call(gateway, "GET", "/openai/files?api-version=2024-10-21&limit=1", headers=headers)
    assert (files.status, files.document["data"]) == (200, [])
    unknown = await call(gateway, "GET", "/openai/files?version=2024-10-21", headers=headers)
    assert (unknown.status, unknown.error["code"]) == (400, "unknown_parameter")

"""Errors in the Python SDK: exception classes, retries, timeouts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest

from tests.stacks import RunningStack, wait_until

MESSAGES: Any = [{"role": "user", "content": "What is the capital of France?"}]
RETRY_AFTER_S = 5


def _ask(client: openai.OpenAI, model: str, **arguments: Any) -> Any:
    fields = {"messages": MESSAGES, "temperature": 0, "max_tokens": 16, **arguments}
    return client.chat.completions.create(model=model, **fields)


@pytest.mark.criterion("1.7")
@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("arguments", "code", "param"),
    [
        ({"temperature": 2.5}, "decimal_above_max_value", "temperature"),
        ({"max_tokens": 0}, "integer_below_min_value", "max_tokens"),
        ({"messages": []}, "empty_array", "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "invalid_value",
            "messages[0].content[0].type",
        ),
        ({"extra_body": {"no_such": 1}}, "unknown_parameter", "no_such"),
    ],
)
def test_a_bad_request_names_the_parameter(
    client: openai.OpenAI, stack: RunningStack, arguments: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as excinfo:
        _ask(client, stack.model, **arguments)
    error = excinfo.value
    assert (error.code, error.param, error.type) == (code, param, "invalid_request_error")
    assert param in error.message
    assert error.request_id is not None
    assert error.request_id.startswith("req_")


@pytest.mark.criterion("4.2")
def test_an_unknown_url_or_model_is_a_not_found_error(client: openai.OpenAI) -> None:
    calls: list[Callable[[], object]] = [
        lambda: client.moderations.create(input="x"),
        lambda: client.batches.list(),
        lambda: client.images.generate(prompt="x", model="x"),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError) as excinfo:
            call()
        assert excinfo.value.code == "unknown_url"


@pytest.mark.criterion("1.8")
def test_a_key_without_the_scope_is_a_permission_denied_error(stack: RunningStack) -> None:
    scope = ("--scope", "models.read")
    output = stack.manage("keys", "create", "--tenant", "demo", "--name", "no-chat", *scope, "--json")
    secret = json.loads(output)["secret"]
    with (
        openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=secret) as client,
        pytest.raises(openai.PermissionDeniedError) as excinfo,
    ):
        _ask(client, stack.model)
    assert excinfo.value.code == "insufficient_scope"


@pytest.mark.criterion("4.2")
def test_without_a_worker_the_error_has_a_time_to_retry(client: openai.OpenAI, idle_model: str) -> None:
    with pytest.raises(openai.InternalServerError) as excinfo:
        _ask(client, idle_model)
    assert (excinfo.value.status_code, excinfo.value.code) == (503, "no_worker_available")
    assert excinfo.value.response.headers["retry-after"] == str(RETRY_AFTER_S)


@contextmanager
def _alias(stack: RunningStack, model: str, alias: str) -> Iterator[None]:
    stack.manage("models", "update", model, "--alias", alias)
    try:
        yield
    finally:
        for name in (model, stack.model):
            stack.manage("models", "update", name, "--alias")


@pytest.mark.criterion("4.2")
def test_the_sdk_retries_after_the_given_time_and_succeeds(stack: RunningStack, idle_model: str) -> None:
    attempts: list[tuple[int, float]] = []

    def mend(response: httpx2.Response) -> None:
        if not attempts:
            stack.manage("models", "update", idle_model, "--alias")
            stack.manage("models", "update", stack.model, "--alias", "soon-served")
        attempts.append((response.status_code, time.monotonic()))

    http_client = openai.DefaultHttpxClient(event_hooks={"response": [mend]}, trust_env=False)
    with (
        _alias(stack, idle_model, "soon-served"),
        openai.OpenAI(
            base_url=f"{stack.base_url}/v1", api_key=stack.key, max_retries=1, http_client=http_client
        ) as client,
    ):
        answer = _ask(client, "soon-served")
    assert answer.choices[0].message.content == "The capital of France is Paris."
    assert [status for status, _ in attempts] == [503, 200]
    assert attempts[1][1] - attempts[0][1] >= RETRY_AFTER_S


@pytest.mark.case("serving.19", "serving.20")
def test_a_client_that_times_out_is_billed_for_the_generated_tokens(
    client: openai.OpenAI, stack: RunningStack
) -> None:
    with pytest.raises(openai.APITimeoutError):
        _ask(
            client.with_options(timeout=3),
            stack.model,
            max_tokens=4000,
            extra_body={"ignore_eos": True},
            extra_headers={"X-Request-ID": "contract-timeout"},
        )
    query = (
        "SELECT outcome, completion_tokens FROM tenants_usagerecord"
        " WHERE correlation_id = 'contract-timeout' AND state = 'settled'"
    )
    rows: list[tuple[Any, ...]] = []

    def settled() -> bool:
        with stack.database() as connection:
            rows[:] = connection.execute(query).fetchall()
        return len(rows) > 0

    wait_until(settled, "the request that was left is settled")
    ((outcome, tokens),) = rows
    assert outcome == "cancelled"
    assert 0 < tokens < 4000

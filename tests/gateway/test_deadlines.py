"""Each stage has its own limit, silence is filled with comments, and a place is always given back."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from api.gateway.app import Gateway
from inference_worker.protocol.faults import UpstreamSilence
from inference_worker.protocol.messages import FailureKind, Outcome
from tests.gateway.conftest import QUICK, Keys
from tests.gateway.driver import CHAT, chat, visit
from tests.gateway.scripted import HANG, Pause, ScriptedClient, accepted, delta, failed, finished

UPSTREAM = failed(FailureKind.UPSTREAM, 504, fault=UpstreamSilence(limit_s=0.2))


@pytest.mark.criterion("4.6")
@pytest.mark.parametrize(
    ("script", "streamed", "stage", "limit"),
    [
        ([HANG], True, "queue", "0.4 s"),
        ([HANG], False, "queue", "0.4 s"),
        ([accepted(), HANG], True, "first_token", "0.4 s"),
        ([accepted(), delta("a"), HANG], True, "inter_token", "0.4 s"),
        ([accepted(), HANG], False, "total", "3 s"),
        ([accepted(), *[step for _ in range(20) for step in (Pause(0.3), delta("a"))]], True, "total", "3 s"),
        ([Pause(0.25), UPSTREAM], False, "upstream", "0.2 s"),
        ([Pause(0.25), UPSTREAM], True, "upstream", "0.2 s"),
    ],
)
async def test_a_timeout_names_its_stage_with_elapsed_and_limit(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    ended: Callable[[], Any],
    script: list[Any],
    streamed: bool,
    stage: str,
    limit: str,
) -> None:
    client.scripts = [script]
    reply = await chat(gateway, keys.acme, stream=streamed)
    record = await ended()
    assert (record.error_code, record.outcome) == (f"{stage}_timeout", Outcome.FAILED)
    assert client.streams[0].closed == 1
    text = reply.body.decode()
    assert f"stage '{stage}'" in text
    assert f"limit {limit}" in text
    elapsed_s = float(re.search(r": ([0-9.]+) s elapsed", text)[1])  # type: ignore[index]  # it is always there
    assert float(limit.split()[0]) <= elapsed_s + 0.05 < float(limit.split()[0]) + 1
    assert f'"code": "{stage}_timeout"' in text
    if not streamed:
        assert reply.status == 504
    else:
        assert text.endswith("data: [DONE]\n\n")


@pytest.mark.criterion("4.6")
async def test_a_silent_start_without_comments_keeps_its_status(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[Pause(0.05), accepted(), finished(b"{}")]]
    assert (await chat(gateway, keys.acme)).status == 200


@pytest.mark.case("serving.27")
async def test_comment_lines_keep_a_waiting_stream_open(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[Pause(0.15), accepted(), Pause(0.25), delta("a"), Pause(0.15), delta("b"), finished()]]
    reply = await chat(gateway, keys.acme, stream=True)
    body = reply.body.decode()
    before, between = body.split('"a"')[0], body.split('"a"')[1].split('"b"')[0]
    assert before.count(": waiting\n\n") >= 3
    assert between.count(": waiting\n\n") == 1
    assert body.endswith("data: [DONE]\n\n")


async def test_after_a_comment_another_worker_can_still_take_over(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    from tests.gateway.scripted import lost

    client.scripts = [[accepted(), Pause(0.15), lost()], [accepted(), delta("b"), finished()]]
    reply = await chat(gateway, keys.acme, stream=True)
    assert reply.body.startswith(b": waiting\n\n")
    assert b'"b"' in reply.body
    assert b"error" not in reply.body


@pytest.mark.case("serving.27")
async def test_no_comment_is_put_into_a_whole_answer(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), Pause(0.3), finished(b"{}")]]
    assert (await chat(gateway, keys.acme)).body == b"{}"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.case("serving.19", "serving.20")
async def test_a_client_that_leaves_stops_the_work_at_once(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any], streamed: bool
) -> None:
    client.scripts = [[accepted(), *([delta("a")] if streamed else []), HANG]]
    body = {**CHAT, "stream": streamed}
    begun = visit(gateway, "POST", "/v1/chat/completions", key=keys.acme, body=body)
    if streamed:
        await begun.until(b'"a"')
    else:
        await asyncio.sleep(0.1)
    assert gateway.capacity.requests.in_use == 1
    left_at = asyncio.get_running_loop().time()
    begun.leave()
    await begun.task
    assert client.streams[0].closed == 1
    assert client.streams[0].closed_at - left_at < 0.2  # far below every limit
    record = await ended()
    expected = (Outcome.CANCELLED, "client_disconnected", 200 if streamed else 499)
    assert (record.outcome, record.error_code, record.status) == expected
    assert not begun.reply.complete


@pytest.mark.case("serving.20")
async def test_a_client_that_leaves_before_a_worker_was_found_has_a_record(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.scripts = [[HANG]]
    begun = visit(gateway, "POST", "/v1/chat/completions", key=keys.acme, body=CHAT)
    begun.leave()
    await begun.task
    assert (await ended()).outcome == Outcome.CANCELLED


async def test_a_stopping_server_leaves_a_record_as_well(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.scripts = [[accepted(), HANG]]
    begun = visit(gateway, "POST", "/v1/chat/completions", key=keys.acme, body=CHAT)
    await asyncio.sleep(0.1)
    begun.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun.task
    record = await ended()
    assert (record.outcome, record.error_code) == (Outcome.FAILED, "gateway_stopping")
    assert (begun.reply.status, begun.reply.error["code"]) == (503, "gateway_stopping")
    assert client.streams[0].closed == 1


@pytest.mark.criterion("4.2")
async def test_a_stopping_server_ends_a_stream_with_an_error_event(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    begun = visit(gateway, "POST", "/v1/chat/completions", key=keys.acme, body={**CHAT, "stream": True})
    await begun.until(b'"a"')
    begun.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun.task
    assert begun.reply.body.endswith(b'"code": "gateway_stopping"}}\n\ndata: [DONE]\n\n')
    assert begun.reply.complete


async def test_a_full_process_says_so_and_has_room_again(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), Pause(0.5), finished(b"{}")] for _ in range(QUICK.gateway_max_requests)]
    running = []
    # The last place is for a tenant that has none.
    for key in (*[keys.acme] * (QUICK.gateway_max_requests - 1), keys.globex):
        running.append(visit(gateway, "POST", "/v1/chat/completions", key=key, body=CHAT))
        async with asyncio.timeout(5):
            while gateway.capacity.requests.in_use < len(running):
                await asyncio.sleep(0.005)
    for key in (keys.acme, keys.globex):
        reply = await chat(gateway, key)
        assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "overloaded", "1")
    for begun in running:
        await begun.task
        assert begun.reply.status == 200
    client.scripts = [[finished(b"{}")]]
    assert (await chat(gateway, keys.acme)).status == 200


async def test_a_client_that_stops_reading_is_let_go_at_the_total_limit(
    gateway: Gateway, keys: Keys, client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.gateway.app.ERROR_WRITE_TIMEOUT_S", 0.1)
    client.scripts = [[accepted(), delta("a"), HANG]]
    begun = visit(gateway, "POST", "/v1/chat/completions", key=keys.acme, body={**CHAT, "stream": True})
    begun.stuck = True
    begun_at = time.monotonic()
    await begun.task
    assert 3.0 < time.monotonic() - begun_at < 6.0
    assert gateway.capacity.requests.in_use == 0
    assert client.streams[0].closed == 1

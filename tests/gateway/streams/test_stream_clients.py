"""Official clients read streams that are silent for longer than the comment interval, over a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio

from api.gateway.app import Gateway
from api.gateway.settings import Limits
from inference_worker.protocol import sse
from tests.contract.client_environments import NODE, node_clients
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import RESUMABLE, chat, resumable_chat
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import Pause, Script, accepted, delta, finished
from tests.site.harness.guarded import serve

PLAIN = {"stream": True}
SILENT: Script = [
    Pause(0.15),
    accepted(),
    Pause(0.25),
    delta("a"),
    Pause(0.25),
    delta("b"),
    Pause(0.25),
    finished(),
]
RESPONSE = {"model": "tiny", "input": "hello"}
NODE_SCRIPT = """
import OpenAI from 'openai';
const client = new OpenAI({ baseURL: process.argv[1], apiKey: process.argv[2], maxRetries: 0 });
const body = JSON.parse(process.argv[3]);
let text = '';
if (body.input) {
  const stream = await client.responses.create(body);
  for await (const event of stream) text += event.type === 'response.output_text.delta' ? event.delta : '';
} else {
  const stream = await client.chat.completions.create(body);
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? '';
}
process.stdout.write(text);
"""


@pytest.fixture
def limits() -> Limits:
    """Limits that a busy machine keeps, with comments more often than the script has events."""
    return LONG_LIMITS.model_copy(update={"stream_comment_s": 0.1})


@pytest_asyncio.fixture
async def base_url(gateway: Gateway) -> AsyncIterator[str]:
    """The base URL of the gateway, served behind the HTTP guard."""
    async with serve(gateway) as (host, port, _):
        yield f"http://{host}:{port}/v1"


@pytest.mark.case("clients.10")
@pytest.mark.parametrize("changes", [PLAIN, RESUMABLE])
async def test_a_comment_dispatches_no_event(
    gateway: Gateway, keys: Keys, client: ScriptedClient, changes: dict[str, object]
) -> None:
    client.scripts = [SILENT]
    ask = resumable_chat if changes is RESUMABLE else chat
    body = (await ask(gateway, keys.acme, **changes)).body
    assert body.count(sse.COMMENT) >= 3
    # Each blank line ends an event with data: no other line dispatches anything.
    blocks = body.split(sse.END)[:-1]
    assert all(b"data: " in block for block in blocks)


@pytest.mark.case("clients.10")
@pytest.mark.parametrize("changes", [PLAIN, RESUMABLE])
async def test_the_python_client_reads_a_silent_chat(
    base_url: str, keys: Keys, client: ScriptedClient, changes: dict[str, object]
) -> None:
    client.scripts = [SILENT]
    extra_body = {name: value for name, value in changes.items() if name != "stream"}
    async with openai.AsyncOpenAI(base_url=base_url, api_key=keys.acme, max_retries=0) as sdk:
        stream = await sdk.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            extra_body=extra_body,
        )
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(texts) == "ab"


@pytest.mark.case("clients.10")
@pytest.mark.parametrize("background", [False, True])
async def test_the_python_client_reads_a_silent_response(
    base_url: str, keys: Keys, client: ScriptedClient, background: bool
) -> None:
    client.scripts = [SILENT]
    async with openai.AsyncOpenAI(base_url=base_url, api_key=keys.acme, max_retries=0) as sdk:
        stream = await sdk.responses.create(model="tiny", input="hello", stream=True, background=background)
        events = [event async for event in stream]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "ab"
    assert events[-1].type == "response.completed"


@pytest.mark.case("clients.10")
@pytest.mark.parametrize(
    "body",
    [
        {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], **PLAIN},
        {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], **RESUMABLE},
        {**RESPONSE, **PLAIN},
        {**RESPONSE, **PLAIN, "background": True},
    ],
)
async def test_the_node_client_reads_a_silent_stream(
    base_url: str, keys: Keys, client: ScriptedClient, body: dict[str, object]
) -> None:
    node_clients()
    client.scripts = [SILENT]
    arguments = ("--input-type=module", "-e", NODE_SCRIPT, base_url, keys.acme, json.dumps(body))
    process = await asyncio.create_subprocess_exec(
        "node", *arguments, cwd=NODE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert (process.returncode, output.decode()) == (0, "ab"), errors.decode()

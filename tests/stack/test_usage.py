"""Usage of streams: always recorded, reported on request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stack.conftest import OwnedStack
from tests.stack.records import settled_usage

TOKENS = 7


@pytest.mark.case("serving.22", "serving.23")
@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": True}])
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_usage_is_recorded_always_and_reported_on_request(
    ready_stack: OwnedStack, path: str, options: dict[str, Any] | None
) -> None:
    fields = (
        {"messages": [{"role": "user", "content": "hi"}]} if path.startswith("chat") else {"prompt": "hi"}
    )
    body = {"model": "tiny", **fields, "max_tokens": TOKENS, "ignore_eos": True, "stream": True}
    with ready_stack.client() as client:
        answer = client.post(f"/v1/{path}", json={**body, "stream_options": options})
    assert answer.status_code == 200
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    usage_chunks = [chunk for chunk in chunks if chunk.get("usage")]
    usage = settled_usage(ready_stack, answer.headers["x-request-id"])
    assert (usage["completion_tokens"], usage["outcome"]) == (TOKENS, "completed")
    if options and options.get("include_usage"):
        (last,) = usage_chunks
        assert (last, last["choices"]) == (chunks[-1], [])
        assert last["usage"]["completion_tokens"] == TOKENS
        assert last["usage"]["prompt_tokens"] == usage["prompt_tokens"]
    else:
        assert usage_chunks == []

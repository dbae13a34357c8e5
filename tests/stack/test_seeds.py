"""Seeded prompts that exceed one step of the engine."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.stack.conftest import OwnedStack
from tests.stack.records import heartbeat

REQUESTS = 24
PROMPT = [5, 6, 7, 8, 9] * 200


async def _texts(stack: OwnedStack) -> list[str]:
    async with httpx.AsyncClient(
        base_url=stack.base_url, headers=stack.headers(), timeout=120, trust_env=False
    ) as client:

        async def ask(number: int) -> str:
            # Each has another prefix, so none is in the prefix cache.
            prompt = [1000 + number, *PROMPT[1:]]
            body: dict[str, Any] = {
                "model": "tiny",
                "prompt": prompt,
                "max_tokens": 4,
                "seed": 7,
                "temperature": 1,
            }
            answer = await client.post("/v1/completions", json=body)
            assert answer.status_code == 200, answer.text
            return str(answer.json()["choices"][0]["text"])

        return await asyncio.gather(*(ask(number) for number in range(REQUESTS)))


def test_the_engine_survives_more_seeded_prompts_than_fit_one_step(ready_stack: OwnedStack) -> None:
    beat = heartbeat(ready_stack)
    together = asyncio.run(_texts(ready_stack))
    assert asyncio.run(_texts(ready_stack)) == together
    after = heartbeat(ready_stack)
    assert beat is not None
    assert after is not None
    assert after.boot == beat.boot

"""Streamed and whole responses of the bundled model have the same text."""

from __future__ import annotations

import json

import pytest

from tests.stacks import RunningStack

PROMPTS = [
    "What is the capital of France?",
    "Count from one to five.",
    "请写一首关于月亮的短诗。",
    "프랑스의 수도는 어디인가요?",
    "ما هي عاصمة فرنسا؟",
    "Repeat exactly: 😀🎉🚀",
    "Repeat exactly: 👩‍👩‍👧‍👦 🇫🇷 👍🏽",
    "Repeat: naïve café – “quotes” … € ñ ß",
    'Repeat: back\\slash "quote" \t tab',
    "Напиши слово «море».",
    "ひらがなで「うみ」と書いてください。",
]


@pytest.mark.criterion("1.3")
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_streamed_response_is_the_whole_one_at_temperature_zero(stack: RunningStack, prompt: str) -> None:
    body = {
        "model": stack.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": 24,
    }
    with stack.client() as client:
        plain = client.post("/v1/chat/completions", json=body).json()["choices"][0]
        pieces, finish = [], None
        with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as response:
            assert response.status_code == 200
            lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        choice = json.loads(line.removeprefix("data: "))["choices"][0]
        pieces.append(choice["delta"].get("content") or "")
        finish = choice["finish_reason"] or finish
    assert "".join(pieces) == plain["message"]["content"]
    assert len(pieces) > 2
    assert finish == plain["finish_reason"]

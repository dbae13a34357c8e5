"""A tenant can't find out what another tenant has asked: its prefix cache is not shared."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import pytest

from tests.stack.conftest import OwnedStack

QUESTION = "The secret of {tenant} {number}: the wind at the coast turns to the north. "
REPEATS = 14
PROBES = 5

Ask = Callable[[str, str], tuple[int, int, float]]


@pytest.fixture
def ask(ready_stack: OwnedStack) -> Ask:
    """A function that asks with a key and returns prompt tokens, cached tokens and the time in seconds."""

    def asked(key: str, text: str) -> tuple[int, int, float]:
        body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 1}
        start = time.monotonic()
        with ready_stack.client() as client:
            answer = client.post("/v1/chat/completions", json=body, headers=ready_stack.headers(key))
        elapsed_s = time.monotonic() - start
        assert answer.status_code == 200, answer.text
        usage = answer.json()["usage"]
        return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"] or 0, elapsed_s

    return asked


def new_key(stack: OwnedStack, tenant: str) -> str:
    """Create a key of a tenant and return its secret."""
    return str(
        json.loads(stack.manage("keys", "create", "--tenant", tenant, "--name", "k", "--json"))["secret"]
    )


@pytest.mark.criterion("3.2")
@pytest.mark.case("serving.11")
def test_one_tenant_does_not_hit_the_prefixes_of_another(ready_stack: OwnedStack, ask: Ask) -> None:
    ready_stack.manage("tenants", "create", "prober")
    victim, prober = new_key(ready_stack, "demo"), new_key(ready_stack, "prober")
    for key in (victim, prober):
        ask(key, "warm up")
    times: dict[str, list[float]] = {"cold": [], "probe": [], "own": []}
    for number in range(PROBES):
        text = QUESTION.format(tenant="demo", number=number) * REPEATS
        tokens, cached_tokens, cold_s = ask(victim, text)
        assert tokens > 160
        assert cached_tokens < 64, "a new text of the victim"
        # The prober guesses the victim's text exactly.
        _, leaked_tokens, probe_s = ask(prober, text)
        assert leaked_tokens < 64, "the prober sees no more than of a text that nobody has sent"
        _, own, own_s = ask(victim, text)
        assert own >= 128, "the victim's own prefix is cached"
        for name, seconds in (("cold", cold_s), ("probe", probe_s), ("own", own_s)):
            times[name].append(seconds)
    # For information only: on a tiny model the difference is small against the noise.
    print({name: f"{statistics.median(values) * 1000:.1f} ms" for name, values in times.items()})


@pytest.mark.criterion("3.2")
def test_keys_of_one_tenant_share_its_prefixes(ready_stack: OwnedStack, ask: Ask) -> None:
    text = QUESTION.format(tenant="demo", number="shared") * REPEATS
    first, second = new_key(ready_stack, "demo"), new_key(ready_stack, "demo")
    assert ask(first, text)[1] < 64
    assert ask(second, text)[1] >= 128

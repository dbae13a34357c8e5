"""Candidates of each position are sorted by probability, wherever the sampled token ranks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from inference_worker.runtime.engines.vllm_patches.wrappers import sort_logprobs


@pytest.mark.case("clients.22")
def test_the_sampled_token_takes_its_place_among_the_most_likely() -> None:
    def position(*candidates: tuple[int, float]) -> dict[int, SimpleNamespace]:
        return {token_id: SimpleNamespace(logprob=logprob) for token_id, logprob in candidates}

    unlikely = position((9, -7.0), (1, -0.5), (2, -1.5))
    likeliest = position((1, -0.5), (2, -1.5))
    second = position((2, -1.5), (1, -0.5))
    source = [unlikely, likeliest, second, None]
    plain = SimpleNamespace(logprobs=None)
    choice = SimpleNamespace(logprobs=source)
    sort_logprobs(SimpleNamespace(outputs=[choice, plain]))
    assert [candidates and list(candidates) for candidates in choice.logprobs] == [
        [1, 2, 9],
        [1, 2],
        [1, 2],
        None,
    ]
    assert plain.logprobs is None
    # vLLM's own list and dicts are unchanged.
    assert list(unlikely) == [9, 1, 2]
    assert source[0] is unlikely

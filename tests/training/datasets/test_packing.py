"""The order of samples depends on seed and epoch alone; batches hold every sample of a step once."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.datasets.tokens import packing
from training.datasets.tokens import step_samples as step_samples_module
from training.datasets.tokens.packing import (
    epoch_order,
    order_keys,
    padded_batches,
    steps_per_epoch,
)


def batched(order: list[int], size: int) -> list[list[int]]:
    """Return the samples of each optimizer step of an epoch."""
    return [order[start : start + size] for start in range(0, len(order), size)]


@pytest.mark.case("training.5")
def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    random.seed(1)
    first = epoch_order(7, 2, 100)
    random.seed(2)
    assert epoch_order(7, 2, 100) == first
    assert sorted(first) == list(range(100))
    others = [epoch_order(7, 3, 100), epoch_order(8, 2, 100), epoch_order(72, 0, 100), list(range(100))]
    assert all(other != first for other in others)


def test_the_order_stays_the_same_in_later_versions() -> None:
    assert epoch_order(42, 0, 10) == FROZEN


FROZEN = [7, 8, 2, 5, 0, 6, 3, 4, 9, 1]


@given(count=st.integers(1, 60), batch_size=st.integers(1, 20), has_ties=st.booleans())
def test_the_samples_of_one_step_are_those_of_the_whole_order(
    count: int, batch_size: int, has_ties: bool
) -> None:
    def keys(seed: int, epoch: int, count: int) -> Iterator[float]:
        return (round(key * 3) for key in order_keys(seed, epoch, count))

    def blocks(seed: int, epoch: int, count: int) -> Iterator[NDArray[np.float64]]:
        yield np.fromiter(keys(seed, epoch, count), np.float64, count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_samples_module, "BLOCK_KEYS", 7)
        if has_ties:
            patch.setattr(packing, "order_keys", keys)
            patch.setattr(step_samples_module, "key_blocks", blocks)
        orders = [epoch_order(9, epoch, count) for epoch in range(2)]
        expected = [step for order in orders for step in batched(order, batch_size)]
        steps = [
            step_samples_module.step_samples(seed=9, count=count, batch_size=batch_size, step=step)
            for step in range(len(expected))
        ]
    assert steps == expected


@given(seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 5), count=st.integers(1, 2000))
def test_blocks_of_keys_are_those_that_order_an_epoch(seed: int, epoch: int, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_samples_module, "BLOCK_KEYS", 700)
        keys = np.concatenate(list(step_samples_module.key_blocks(seed, epoch, count)))
    assert keys.tolist() == list(order_keys(seed, epoch, count))


def test_a_step_keeps_few_of_many_samples_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_samples_module, "BLOCK_KEYS", 10_000)
    count = 300_000
    tracemalloc.start()
    try:
        steps = [
            step_samples_module.step_samples(seed=1, count=count, batch_size=8, step=step)
            for step in (0, 20_000, count // 8 - 1)
        ]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    order = epoch_order(1, 0, count)
    assert steps == [order[:8], order[160_000:160_008], order[-8:]]
    assert peak < count  # a byte each; all keys are eight


@given(count=st.integers(1, 60), batch_size=st.integers(1, 20), seed=st.integers(0, 2**31 - 1))
def test_every_sample_is_in_one_step_of_an_epoch(count: int, batch_size: int, seed: int) -> None:
    steps = batched(epoch_order(seed, 0, count), batch_size)
    assert sorted(index for step in steps for index in step) == list(range(count))
    assert len(steps) == steps_per_epoch(count, batch_size)
    assert all(len(step) == batch_size for step in steps[:-1])


_lengths = st.lists(st.integers(1, 50), min_size=1, max_size=20)


@given(lengths=_lengths, limit=st.integers(1, 120))
def test_padded_batches_hold_every_sample_once_within_the_limit(lengths: list[int], limit: int) -> None:
    indices = list(range(len(lengths)))
    result = padded_batches(lengths, indices, limit)
    assert sorted(index for batch in result for index in batch) == indices
    sizes = [len(batch) * max(lengths[index] for index in batch) for batch in result]
    assert all(len(batch) == 1 or size <= limit for batch, size in zip(result, sizes, strict=True))
    longest = [max(lengths[index] for index in batch) for batch in result]
    assert longest == sorted(longest, reverse=True)

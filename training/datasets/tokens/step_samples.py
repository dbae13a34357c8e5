"""The samples of one optimizer step of a run, without a trainer."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.datasets.tokens.packing import steps_per_epoch

BLOCK_KEYS = 1 << 20  # 8 MiB
MARGIN = 4.0  # in units of 1/sqrt(count), so at least eight standard deviations of a key's rank


def step_samples(*, seed: int, count: int, batch_size: int, step: int) -> list[int]:
    """Return a step's samples, its slice of ``epoch_order``. Steps are counted from 0 over all epochs.

    Only samples with keys near those of the step are kept and sorted, so memory grows with the square root of
    ``count``.
    """
    epoch, position = divmod(step, steps_per_epoch(count, batch_size))
    first, end = position * batch_size, min((position + 1) * batch_size, count)
    margin = MARGIN / math.sqrt(count)
    ranges = ((first / count - margin, end / count + margin), (-math.inf, math.inf))
    for low, high in ranges:
        lower_keys, samples, keys = _near_samples(seed, epoch, count, low, high)
        if lower_keys <= first and end <= lower_keys + len(samples):
            break
    sorted_samples = samples[np.argsort(keys, kind="stable")]
    result: list[int] = sorted_samples[first - lower_keys : end - lower_keys].tolist()
    return result


def key_blocks(seed: int, epoch: int, count: int) -> Iterator[NDArray[np.float64]]:
    """Yield the numbers of ``order_keys`` as arrays, from numpy's generator with Python's state.

    Both are the Mersenne Twister with 53 bits of each pair of its numbers.
    """
    words = random.Random(f"{seed}/{epoch}").getstate()[1]
    generator = np.random.RandomState()
    generator.set_state(("MT19937", np.array(words[:-1], np.uint32), words[-1], 0, 0.0))
    for start in range(0, count, BLOCK_KEYS):
        yield generator.random_sample(min(BLOCK_KEYS, count - start))


def _near_samples(
    seed: int, epoch: int, count: int, low: float, high: float
) -> tuple[int, NDArray[np.int64], NDArray[np.float64]]:
    """Return the number of keys below ``low``, and ascending samples with keys from there to ``high``."""
    lower_keys, start = 0, 0
    samples, keys = [], []
    for block in key_blocks(seed, epoch, count):
        lower_keys += int(np.count_nonzero(block < low))
        places = np.flatnonzero((block >= low) & (block < high))
        samples.append(places + start)
        keys.append(block[places])
        start += len(block)
    return lower_keys, np.concatenate(samples), np.concatenate(keys)

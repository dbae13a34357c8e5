"""Order of samples and their distribution over optimizer steps and forward passes. Pure functions.

A step has the same samples, and so the same gradient, whatever the packing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """Return a permutation of ``range(count)`` that depends on nothing but the arguments.

    All versions of Python give the same ``Random.random`` for a seed; of ``shuffle`` that is not guaranteed.
    """
    keys = list(order_keys(seed, epoch, count))
    return sorted(range(count), key=keys.__getitem__)


def order_keys(seed: int, epoch: int, count: int) -> Iterator[float]:
    """Yield the sort keys of an epoch's samples. Of samples with equal keys, the first one comes first."""
    generator = random.Random(f"{seed}/{epoch}")
    return (generator.random() for _ in range(count))


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the optimizer steps of an epoch; the last one may have fewer samples."""
    return -(-count // batch_size)


def padded_batches(lengths: Sequence[int], indices: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Distribute samples over batches of similar lengths that take at most ``max_tokens`` with their padding.

    A sample longer than that has a batch of its own. The longest come first, so memory peaks at once.
    """
    position = {index: place for place, index in enumerate(indices)}
    batches: list[list[int]] = []
    for index in sorted(indices, key=lambda item: (-lengths[item], position[item])):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches

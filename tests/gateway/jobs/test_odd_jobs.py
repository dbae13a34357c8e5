"""Odd values anywhere in a request for a job are refused or accepted, and never an error of the server."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from api.gateway.app import Gateway
from tests.gateway.conftest import Keys
from tests.gateway.harness.driver import call
from tests.gateway.harness.jobs import JOBS, chat_file
from tests.gateway.harness.threads import in_thread
from training.models import FineTuningJob

REQUESTS = 400
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2**31 - 1, 2**31, 2**63, 10**30, 1e308, -0.0, 5e-324, 0.5),
    *("", "auto", "\0", "\ud7ff", "😀" * 64, "x" * 65, "a" * 5000, "../..", "ft:tiny:acme::1", "1"),
    *([], [[]], [None], ["q_proj"], ["all-linear"], {}, {"a": {}}, {"type": "dpo"}),
)


def _places(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of all members of nested objects."""
    if not isinstance(value, dict):
        return []
    return [place for key, inner in value.items() for place in ((*path, key), *_places(inner, (*path, key)))]


def _changed(body: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    variant = copy.deepcopy(body)
    for _ in range(chance.choice((1, 1, 2))):
        *parents, name = chance.choice(_places(variant))
        holder = variant
        for parent in parents:
            holder = holder[parent]
        holder[name] = chance.choice(ODD_VALUES)
    return variant


@pytest.mark.usefixtures("trainable")
async def test_odd_values_never_fail_the_server(gateway: Gateway, keys: Keys) -> None:
    chance = random.Random(7)
    file_id = await chat_file(keys.acme_id)
    body = {
        "model": "tiny",
        "training_file": file_id,
        "validation_file": file_id,
        "suffix": "s",
        "seed": 1,
        "metadata": {"a": "b"},
        "hyperparameters": {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1.0},
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}},
        "cyllm": {
            "rank": 4,
            "alpha": 8,
            "dropout": 0.1,
            "target_modules": ["q_proj"],
            "max_length": 64,
            "warmup_ratio": 0.1,
            "early_stopping": {"patience": 1, "threshold": 0.1},
            "eval_steps": 1,
            "learning_rate": None,
            "priority": 1,
        },
    }
    statuses = set()
    for number in range(REQUESTS):
        variant = _changed(body, chance)
        reply = await call(gateway, "POST", JOBS, key=keys.acme, body=variant)
        assert reply.status in {200, 400, 404, 429}, (variant, reply.body)
        statuses.add(reply.status)
        if number % 50 == 49:  # for the limit of open jobs
            await in_thread(lambda: FineTuningJob.objects.all().delete())
    assert statuses >= {200, 400}

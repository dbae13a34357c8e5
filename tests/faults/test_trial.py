"""A short trial under load, limits and kills; ``python -m tests.chaos`` is the long one."""

from __future__ import annotations

import pytest

from tests.chaos.limits import Use, exceeded_limits
from tests.chaos.trial import Trial
from tests.stacks import RunningStack


@pytest.mark.criterion("5.2")
@pytest.mark.case("robustness.5")
@pytest.mark.case("robustness.8")
@pytest.mark.case("serving.1")
def test_each_answered_request_has_one_record_whatever_is_killed(ready_stack: RunningStack) -> None:
    trial = Trial(seconds=16, concurrency=6, faults=4, programs=("gateway", "valkey", "celery", "worker"))
    result = trial.run_on(ready_stack)
    assert result.is_right, result.report()
    assert len([line for line in result.faults if line.endswith(("killed", "paused"))]) >= 3, result.report()
    assert len([item for item in result.requests if item.status == 200]) > 100, result.report()


def test_the_trial_notices_what_is_admitted_beyond_a_limit() -> None:
    noon = 1_800_000_000.0
    uses = [Use("k", noon + second, tokens=10, cost=100) for second in range(0, 120, 2)]
    limits = {
        "requests-per-minute": 20,
        "tokens-per-minute": 200,
        "spend-per-day": 5999,
        "spend-per-month": 6000,
    }
    assert exceeded_limits("key", limits, uses) == [
        "key: 21 of 20 requests-per-minute",
        "key: 210 of 200 tokens-per-minute",
        "key: 6000 of 5999 spend-per-day",
    ]

"""Hints for jobs that learned little, from the figures that they left."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from api.console.job_data.learning import learning_hint
from tests.console.harness.jobs import job_with_steps
from tests.people import Cast
from training.models import FineTuningJob

pytestmark = pytest.mark.django_db


def _job(steps: int = 200, examples: int = 500, **resolved: Any) -> FineTuningJob:
    values = {"learning_rate": 2e-4, "n_epochs": 3} | resolved
    return FineTuningJob(
        id="ftjob-x", method="supervised", step=steps, resolved=values, report={"examples": examples}
    )


def _result(
    before: float, after: float, effect: float | None = None, on: str = "validation"
) -> dict[str, Any]:
    verification = {} if effect is None else {"verification": {"effect": {"largest": 1.0, "mean": effect}}}
    return {"evaluated_on": on, "base": {"loss": before}, "result": {"loss": after}, **verification}


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"learning_rate": 1e-6}, ["Raise the learning rate: it was 1e-6, and 2e-4 is usual here."]),
        ({"steps": 12}, ["Train for more epochs than 3: the job had 12 steps, which are few."]),
        ({"examples": 20}, ["Add examples: the training file has 20."]),
        (
            {"learning_rate": 1e-5, "steps": 49, "examples": 49},
            ["Raise the learning rate", "Train for more epochs", "Add examples"],
        ),
        ({}, ["Raise the learning rate, which was 2e-4, or train for more epochs than 3."]),
    ],
)
def test_a_small_gain_is_explained_by_the_settings(changes: dict[str, Any], advice: list[str]) -> None:
    job = _job(**changes)
    job.result = _result(3.0, 2.95)
    hint = learning_hint(job)
    assert hint is not None
    assert hint.finding == "The model learned little: its loss fell from 3 to 2.95 only."
    assert len(hint.advice) == len(advice)
    assert all(text.startswith(start) for text, start in zip(hint.advice, advice, strict=True))


def test_an_unchanged_loss_did_not_fall() -> None:
    job = _job()
    job.result = _result(1.9, 1.9)
    hint = learning_hint(job)
    assert hint is not None
    assert hint.finding == "The model learned little: its loss is still 1.9."


def test_almost_equal_log_probs_are_a_small_effect_whatever_the_loss() -> None:
    job = _job()
    job.result = _result(3.0, 2.0, effect=0.004)
    hint = learning_hint(job)
    assert hint is not None
    assert "by only 0.004 on average" in hint.finding


@pytest.mark.parametrize(
    "result",
    [None, {}, _result(3.0, 2.9), _result(3.0, 1.0, effect=0.5), {"base": {"loss": 3.0}, "result": {}}],
)
def test_a_job_that_learned_something_or_has_no_figures_has_no_hint(result: dict[str, Any] | None) -> None:
    job = _job()
    job.result = result
    assert learning_hint(job) is None


def test_a_worse_result_with_a_falling_training_loss_is_memorizing(cast: Cast) -> None:
    job = job_with_steps(cast.acme, 100)  # its training loss falls
    job.resolved = {"learning_rate": 1e-3, "n_epochs": 9}
    job.result = _result(2.0, 2.5)
    job.save()
    browser = Client()
    browser.force_login(cast.member)
    page = browser.get(f"/console/acme/jobs/{job.id}/").content.decode()
    notice = page[page.index('id="learning-hint"') :].split("</div>")[0]
    assert "The loss is 2.5, higher than that of the base model, which is 2." in notice
    assert "so the model memorizes its examples: train for fewer epochs than 9" in notice
    assert "Lower the learning rate: it was 0.001, and 2e-4 is usual here." in notice
    # Without a validation file, the sample is of the training file: nothing is memorized if its loss rose.
    job.result, job.resolved = _result(2.0, 2.5, on="training"), {"learning_rate": 2e-4, "n_epochs": 9}
    hint = learning_hint(job)
    assert hint is not None
    assert hint.advice == ("Lower the learning rate, which was 2e-4, or train for fewer epochs than 9.",)


@pytest.mark.parametrize(
    ("rate", "advice"),
    [
        (
            2e-4,
            "To teach it their content, clone the job with a higher learning rate than 2e-4, such as 2e-3 "
            "with the modules all-linear, or with more epochs than 3.",
        ),
        (2e-3, "To teach it their content, clone the job with more epochs than 3."),
    ],
)
def test_a_model_that_does_not_know_its_few_examples_is_said_to_need_more_training(
    rate: float, advice: str
) -> None:
    job = _job(steps=60, examples=12, learning_rate=rate)
    job.result = _result(3.26, 2.6, effect=0.5, on="training")
    job.result["result"]["token_accuracy"] = 0.537
    hint = learning_hint(job)
    assert hint is not None
    assert hint.finding == (
        "The model doesn't know its examples yet: it predicts 53.7 % of the tokens of their answers."
    )
    assert hint.advice == (advice,)


@pytest.mark.parametrize(
    ("accuracy", "changes"),
    [
        *((0.97, {}), (None, {}), (0.5, {"report": {"examples": 500}}), (0.5, {"method": "dpo"})),
        (0.5, {"options": {"adapter": "full"}}),
    ],
)
def test_other_jobs_than_small_ones_need_not_know_their_examples(
    accuracy: float | None, changes: dict[str, Any]
) -> None:
    job = _job(steps=60, examples=12)
    job.result = _result(3.26, 2.6, effect=0.5, on="training")
    job.result["result"]["token_accuracy"] = accuracy
    for name, value in changes.items():
        setattr(job, name, value)
    assert learning_hint(job) is None

"""A hint for jobs that learned too little or made the model worse: the figures, and what to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from api.console.templatetags.console import number
from api.console.templatetags.serving import share
from training.choices import EventType, Method
from training.datasets.tokens.estimate import MIN_AUTO_STEPS
from training.models import FineTuningJob, JobEvent
from training.requests.hyperparameters import BASE_LEARNING_RATES

LITTLE_GAIN = 0.02  # of the base model's loss
SMALL_EFFECT = 0.02  # mean change of a token's log-prob; one of 0.02 changes its probability by 2 %
FEW_EXAMPLES = 50
# Values for the form of a new job: with them, a model learns the content of a few examples.
SETTINGS_FOR_FEW_EXAMPLES = {"learning_rate": "2e-3", "target_modules": "all-linear"}
KNOWN_ACCURACY = 0.9  # share of the tokens of its training examples that a model predicts once it knows them
RATE_FACTOR = 2.0  # a rate is low or high if it differs from the usual one by this factor


@dataclass(frozen=True, slots=True)
class LearningHint:
    """``finding``: what the result shows. ``advice``: what to change, the most likely cause first."""

    finding: str
    advice: tuple[str, ...]


def learning_hint(job: FineTuningJob) -> LearningHint | None:
    """Return the hint for a job with a result; None if it learned enough, or its result lacks figures.

    Two queries, only if the result is worse than the base model.
    """
    result: Mapping[str, Any] = job.result or {}
    before, after = (result.get(name, {}).get("loss") for name in ("base", "result"))
    if before is None or after is None or before <= 0 or "learning_rate" not in job.resolved:
        return None
    losses = {"before": number(before), "after": number(after)}
    if after > before:
        text = gettext("The loss is %(after)s, higher than that of the base model, which is %(before)s.")
        return LearningHint(text % losses, _advice_if_worse(job, str(result.get("evaluated_on"))))
    if before - after < LITTLE_GAIN * before:
        text = gettext("The model learned little: its loss fell from %(before)s to %(after)s only.")
        if losses["before"] == losses["after"]:
            text = gettext("The model learned little: its loss is still %(after)s.")
        return LearningHint(text % losses, _advice_if_little(job))
    effect = result.get("verification", {}).get("effect", {}).get("mean")
    if effect is not None and effect < SMALL_EFFECT:
        text = gettext(
            "The model learned little: log-probabilities of its answers differ from those of the base model "
            "by only %(effect)s on average."
        )
        return LearningHint(text % {"effect": number(effect)}, _advice_if_little(job))
    return _hint_if_few_examples(job, result)


def has_few_examples(method: str, adapter: str, examples: int) -> bool:
    """Return whether a run has so few examples that the usual settings hardly teach their content."""
    return method == Method.SUPERVISED and adapter != "full" and 0 < examples < FEW_EXAMPLES


def _hint_if_few_examples(job: FineTuningJob, result: Mapping[str, Any]) -> LearningHint | None:
    """Return the hint for a model that learned something, but not the content of its few examples."""
    accuracy = result["result"].get("token_accuracy")
    if result.get("evaluated_on") != "training" or accuracy is None or accuracy >= KNOWN_ACCURACY:
        return None
    if not has_few_examples(job.method, job.adapter, _example_count(job)):
        return None
    rate, _, epochs = _rates_and_epochs(job)
    finding = gettext(
        "The model doesn't know its examples yet: it predicts %(share)s of the tokens of their answers."
    )
    advice = gettext(
        "To teach it their content, clone the job with a higher learning rate than %(rate)s, such as "
        "%(learning_rate)s with the modules %(target_modules)s, or with more epochs than %(epochs)s."
    )
    if rate >= float(SETTINGS_FOR_FEW_EXAMPLES["learning_rate"]):
        advice = gettext("To teach it their content, clone the job with more epochs than %(epochs)s.")
    values = {"rate": number(rate), "epochs": epochs, **SETTINGS_FOR_FEW_EXAMPLES}
    return LearningHint(finding % {"share": share(accuracy)}, (advice % values,))


def _advice_if_little(job: FineTuningJob) -> tuple[str, ...]:
    rate, usual, epochs = _rates_and_epochs(job)
    examples = _example_count(job)
    values = {
        "rate": number(rate),
        "usual": number(usual),
        "epochs": epochs,
        "steps": job.step,
        "n": examples,
    }
    advice = []
    if rate * RATE_FACTOR <= usual:
        advice.append(gettext("Raise the learning rate: it was %(rate)s, and %(usual)s is usual here."))
    if job.step < MIN_AUTO_STEPS:
        text = gettext("Train for more epochs than %(epochs)s: the job had %(steps)s steps, which are few.")
        advice.append(text)
    if 0 < examples < FEW_EXAMPLES:
        advice.append(gettext("Add examples: the training file has %(n)s."))
    if not advice:
        text = gettext(
            "Raise the learning rate, which was %(rate)s, or train for more epochs than %(epochs)s."
        )
        advice.append(text)
    return tuple(text % values for text in advice)


def _advice_if_worse(job: FineTuningJob, evaluated_on: str) -> tuple[str, ...]:
    rate, usual, epochs = _rates_and_epochs(job)
    values = {"rate": number(rate), "usual": number(usual), "epochs": epochs}
    advice = []
    first, last = _train_losses(job)
    if evaluated_on == "validation" and first is not None and last is not None and last < first:
        values |= {"first": number(first), "last": number(last)}
        text = gettext(
            "The training loss fell from %(first)s to %(last)s, so the model memorizes its examples: train "
            "for fewer epochs than %(epochs)s, add examples, or set early stopping."
        )
        advice.append(text)
    if rate >= usual * RATE_FACTOR:
        advice.append(gettext("Lower the learning rate: it was %(rate)s, and %(usual)s is usual here."))
    if not advice:
        text = gettext(
            "Lower the learning rate, which was %(rate)s, or train for fewer epochs than %(epochs)s."
        )
        advice.append(text)
    return tuple(text % values for text in advice)


def _example_count(job: FineTuningJob) -> int:
    """Return the number of training examples, 0 if it is unknown."""
    return int((job.report or {}).get("examples") or 0)


def _rates_and_epochs(job: FineTuningJob) -> tuple[float, float, int]:
    """Return the learning rate, the usual one of the job's method, and the epochs."""
    usual = BASE_LEARNING_RATES.get((job.method, job.adapter), 0.0)
    return float(job.resolved["learning_rate"]), usual, int(job.resolved.get("n_epochs") or 1)


def _train_losses(job: FineTuningJob) -> tuple[float | None, float | None]:
    """Return the first and the last logged training loss. Two queries."""
    rows = JobEvent.objects.filter(job=job, type=EventType.METRICS, data__has_key="train_loss")
    losses = list(rows.order_by("number").values_list("data__train_loss", flat=True)[:1])
    losses += rows.order_by("-number").values_list("data__train_loss", flat=True)[:1]
    return (losses[0], losses[1]) if len(losses) == 2 else (None, None)

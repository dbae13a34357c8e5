"""The options of fine-tuning requests are those of the trainer, with the same bounds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pydantic import TypeAdapter

from api.openai.schemas import fine_tuning as schema
from api.openai.validation.fine_tuning import validate_fine_tuning_body
from training.engine import spec
from training.requests.hyperparameters import training_options

PAIRS = ((schema.TrainingOptions, spec.TrainingOptions), (schema.EarlyStopping, spec.EarlyStopping))
# Options of the request that the trainer receives in another way, or not at all.
OTHER_OPTIONS = {"learning_rate", "publish", "priority", "worker_class"}
BOUNDS = {
    "minimum": "minimum",
    "exclusiveMinimum": "exclusiveMinimum",
    "exclusiveMaximum": "exclusiveMaximum",
}


def _definition(form: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON schema without null and references."""
    if "anyOf" in form:
        (form,) = (each for each in form["anyOf"] if each.get("type") != "null")
    if "$ref" in form:
        form = definitions[form["$ref"].rpartition("/")[2]]
    return form


def _essence(form: dict[str, Any]) -> Any:
    """Return the type, the values and the lower bounds. Requests may have stricter upper bounds."""
    if "properties" in form:
        return sorted(form["properties"])
    if "enum" in form:
        return sorted(form["enum"])
    return form["type"], {name: float(form[name]) for name in BOUNDS if name in form}


def _properties(document: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    return {name: _essence(_definition(form, definitions)) for name, form in document["properties"].items()}


@pytest.mark.parametrize(("api_type", "trainer_type"), PAIRS)
def test_requests_and_trainer_have_the_same_options(api_type: type, trainer_type: type) -> None:
    request = TypeAdapter(api_type).json_schema()
    _, definitions = msgspec.json.schema_components([trainer_type])
    ours = _properties(request, request.get("$defs", {}))
    theirs = _properties(definitions[trainer_type.__name__], definitions)
    assert {name: form for name, form in ours.items() if name not in OTHER_OPTIONS} == theirs
    assert ours.keys() & OTHER_OPTIONS == (OTHER_OPTIONS if api_type is schema.TrainingOptions else set())


def test_options_that_are_not_requested_have_the_defaults_of_the_trainer() -> None:
    request = validate_fine_tuning_body({"model": "m", "training_file": "f"})
    assert training_options(request.options) == spec.TrainingOptions()
    nulls = dict.fromkeys(schema.TrainingOptions.model_fields)
    assert validate_fine_tuning_body({"model": "m", "training_file": "f", "cyllm": nulls}) == request


def test_every_option_reaches_the_trainer() -> None:
    values: dict[str, Any] = {
        "adapter": "dora",
        "rank": 3,
        "alpha": 5,
        "dropout": 0.5,
        "target_modules": ["k_proj"],
        "max_length": 64,
        "packing": "off",
        "micro_batch_tokens": 128,
        "gradient_checkpointing": "on",
        "precision": "float16",
        "scheduler": "cosine",
        "warmup_ratio": 0.1,
        "weight_decay": 0.01,
        "max_grad_norm": 2,
        "early_stopping": {"patience": 2, "threshold": 0.5},
        "logging_steps": 2,
        "eval_steps": 3,
        "checkpoint_steps": 4,
        "keep_checkpoints": 5,
    }
    body = {"model": "m", "training_file": "f", "validation_file": "v", "cyllm": {**values, "publish": False}}
    options = msgspec.to_builtins(training_options(validate_fine_tuning_body(body).options))
    defaults = msgspec.to_builtins(spec.TrainingOptions())
    assert {**options, "target_modules": list(options["target_modules"])} == values
    assert not [name for name in defaults if options[name] == defaults[name]]

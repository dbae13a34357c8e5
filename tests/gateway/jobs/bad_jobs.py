"""Requests for fine-tuning jobs that are refused, each with its error and parameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VALIDATED = {"validation_file": "VALIDATION"}
REINFORCEMENT = {"type": "reinforcement", "reinforcement": {"grader": {}}}


@dataclass(frozen=True)
class BadJob:
    """A change of a valid request. ``message``: a part of the error's message, such as the remedy."""

    code: str
    param: str | None
    changes: dict[str, Any] = field(hash=False)
    message: str = ""
    status: int = 400


def _option(code: str, name: str, value: Any, message: str = "", **changes: Any) -> BadJob:
    top, _, rest = name.partition(".")
    return BadJob(
        code, f"cyllm.{name}", {"cyllm": {top: {rest: value} if rest else value}, **changes}, message
    )


def _hyperparameter(code: str, name: str, value: Any, message: str = "") -> BadJob:
    return BadJob(code, f"hyperparameters.{name}", {"hyperparameters": {name: value}}, message)


# TRAINING, VALIDATION and the names below are replaced by the ids of files.
BAD_JOBS = (
    # the model
    BadJob("missing_required_parameter", "model", {"model": ...}),
    BadJob("model_not_found", "model", {"model": "none"}, "does not exist", 404),
    BadJob("model_not_trainable", "model", {"model": "org/served"}, "use one of 'org/private', 'tiny'"),
    # files
    BadJob("missing_required_parameter", "training_file", {"training_file": ...}),
    BadJob("missing_required_parameter", "training_file", {"training_file": None}),
    BadJob("invalid_type", "training_file", {"training_file": ["TRAINING"]}, "expected a string"),
    BadJob("dataset_file_not_found", "training_file", {"training_file": "file-0"}, "'file-0' does not exist"),
    BadJob("dataset_file_not_found", "training_file", {"training_file": "file-\0"}),
    BadJob("dataset_file_not_found", "training_file", {"training_file": "FOREIGN"}, "does not exist"),
    BadJob("dataset_file_not_found", "training_file", {"training_file": "EXPIRED"}, "does not exist"),
    BadJob("dataset_file_not_found", "validation_file", {"validation_file": "FOREIGN"}),
    BadJob("wrong_file_purpose", "training_file", {"training_file": "USER_DATA"}, "Expected 'fine-tune'"),
    BadJob("wrong_file_purpose", "validation_file", {"validation_file": "USER_DATA"}, "'user_data'"),
    BadJob("wrong_dataset_format", "training_file", {"training_file": "PAIRS"}, "requires conversations"),
    BadJob("wrong_dataset_format", "training_file", {"method": {"type": "dpo"}}, "requires preference pairs"),
    BadJob("wrong_dataset_format", "validation_file", {"validation_file": "PAIRS"}, "'supervised'"),
    BadJob("invalid_dataset", "training_file", {"training_file": "EMPTY"}, "no examples"),
    # methods and hyperparameters
    BadJob("unsupported_value", "method.type", {"method": REINFORCEMENT}, "use 'supervised' or 'dpo'"),
    BadJob("missing_required_parameter", "method.type", {"method": {}}),
    BadJob("invalid_value", "method.type", {"method": {"type": "orpo"}}, "'supervised' or 'dpo'"),
    BadJob("invalid_value", "method.dpo", {"method": {"type": "supervised", "dpo": {}}}, "method 'dpo'"),
    BadJob(
        "unknown_parameter",
        "method.supervised.hyperparameters.beta",
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"beta": 0.1}}}},
    ),
    BadJob(
        "invalid_value",
        "hyperparameters.n_epochs",
        {
            "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
            "hyperparameters": {"n_epochs": 2},
        },
        "differs from 'method.supervised.hyperparameters.n_epochs'",
    ),
    BadJob(
        "decimal_above_max_value",
        "method.dpo.hyperparameters.beta",
        {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.5}}}},
    ),
    _hyperparameter("integer_below_min_value", "n_epochs", 0),
    _hyperparameter("integer_above_max_value", "n_epochs", 51),
    _hyperparameter("invalid_value", "n_epochs", "many", "a number or 'auto'"),
    _hyperparameter("invalid_type", "n_epochs", 1.5, "an integer or 'auto'"),
    _hyperparameter("integer_above_max_value", "batch_size", 257),
    _hyperparameter("decimal_below_min_value", "learning_rate_multiplier", 0),
    _hyperparameter("unknown_parameter", "epochs", 3),
    # the rest of OpenAI's parameters
    BadJob("unsupported_parameter", "integrations", {"integrations": [{"type": "wandb"}]}, "job's events"),
    BadJob("unknown_parameter", "priority", {"priority": 9}),
    BadJob("string_above_max_length", "suffix", {"suffix": "x" * 65}),
    BadJob("string_below_min_length", "suffix", {"suffix": ""}),
    BadJob("invalid_value", "suffix", {"suffix": "my model"}, "letters, digits"),
    BadJob("invalid_value", "suffix", {"suffix": "a:b"}, "letters, digits"),
    BadJob("integer_below_min_value", "seed", {"seed": -1}),
    BadJob("integer_above_max_value", "seed", {"seed": 2**31}),
    BadJob("invalid_type", "seed", {"seed": "7"}),
    BadJob(
        "object_above_max_properties", "metadata", {"metadata": {str(number): "" for number in range(17)}}
    ),
    BadJob("string_above_max_length", "metadata", {"metadata": {"k" * 65: "v"}}),
    BadJob("string_above_max_length", "metadata.k", {"metadata": {"k": "v" * 513}}),
    BadJob("invalid_type", "metadata.k", {"metadata": {"k": 1}}),
    BadJob("invalid_value", "metadata", {"metadata": {"k": "\0"}}, "NUL"),
    # options of the platform
    _option("unknown_parameter", "ranks", 8),
    _option("integer_below_min_value", "rank", 0),
    _option("invalid_value", "rank", 17, "load adapters of rank 16 at most"),
    _option("invalid_value", "adapter", "ia3", "'lora', 'dora' or 'full'"),
    _option("decimal_above_max_value", "dropout", 1.0),
    _option("decimal_below_min_value", "alpha", 0),
    _option("invalid_value", "target_modules", ["q_proj", "gate_proj"], "it has k_proj, o_proj, q_proj"),
    _option("unsupported_value", "target_modules", ["q_proj", "lm_head"], "don't load adapters"),
    _option("unsupported_value", "target_modules", ["model.embed_tokens"], "embeddings"),
    _option("unsupported_value", "target_modules", ["wte"], "embeddings"),
    _option("invalid_value", "target_modules", ["q_proj", "q_proj"], "twice"),
    _option("invalid_value", "target_modules", ["all-linear", "q_proj"], "can't be combined"),
    _option("empty_array", "target_modules", []),
    _option("integer_above_max_value", "priority", 10),
    _option("integer_below_min_value", "priority", -1),
    _option("invalid_value", "worker_class", "gpu", "use one of 'default', 'small'"),
    _option("invalid_value", "max_length", 513, "context of the model has 512 tokens"),
    _option("decimal_above_max_value", "learning_rate", 1.5),
    _option("decimal_below_min_value", "learning_rate", 0),
    _option("invalid_value", "scheduler", "step", "'linear', 'cosine' or 'constant'"),
    _option("integer_above_max_value", "logging_steps", 2**31),
    BadJob(
        "invalid_value",
        "cyllm.learning_rate",
        {"cyllm": {"learning_rate": 1e-4}, "hyperparameters": {"learning_rate_multiplier": 2}},
        "send one of them",
    ),
    _option("unsupported_value", "adapter", "dora", "use 'lora', or set 'cyllm.publish' to false"),
    _option("unsupported_value", "adapter", "full", "engines don't load"),
    BadJob(
        "invalid_value",
        "cyllm.rank",
        {"cyllm": {"adapter": "full", "publish": False, "rank": 8}},
        "'full' has no such setting",
    ),
    BadJob(
        "not_enough_memory",
        "cyllm",
        {"cyllm": {"worker_class": "small"}},
        "10.4 GiB of memory, but the training workers have 4.0 GiB",
    ),
    BadJob(
        "invalid_value",
        "cyllm.warmup_ratio",
        {"cyllm": {"warmup_ratio": 0.1}, "hyperparameters": {"n_epochs": 1, "batch_size": 8}},
        "a warm-up starts from a learning rate of 0",
    ),
    BadJob(
        "invalid_value",
        "cyllm.adapter",
        {"cyllm": {"adapter": "full", "publish": False}},
        "the result takes about 20.0 GiB, but a file has at most 1.0 GiB",
    ),
    # early stopping
    _option("invalid_value", "early_stopping", {"patience": 3}, "requires a 'validation_file'"),
    _option("invalid_value", "eval_steps", 10, "requires a 'validation_file'"),
    _option("integer_below_min_value", "early_stopping.patience", 0),
    BadJob(
        "missing_required_parameter",
        "cyllm.early_stopping.patience",
        {"cyllm": {"early_stopping": {"threshold": 0.1}}},
    ),
    BadJob(
        "decimal_below_min_value",
        "cyllm.early_stopping.threshold",
        {"cyllm": {"early_stopping": {"patience": 1, "threshold": -0.1}}, **VALIDATED},
    ),
    BadJob(
        "invalid_value",
        "cyllm.eval_steps",
        {"cyllm": {"eval_steps": 9}, "hyperparameters": {"n_epochs": 1, "batch_size": 1}, **VALIDATED},
        "the whole run has about 8 steps",
    ),
    BadJob(
        "invalid_value",
        "cyllm.early_stopping.patience",
        {
            "cyllm": {"early_stopping": {"patience": 2}, "eval_steps": 4},
            "hyperparameters": {"n_epochs": 1, "batch_size": 1},
            **VALIDATED,
        },
        "about 2 evaluations, so it could never stop early",
    ),
    BadJob(
        "invalid_value",
        "cyllm.early_stopping.patience",
        {
            "cyllm": {"early_stopping": {"patience": 10}},
            "hyperparameters": {"n_epochs": 10, "batch_size": 1},
            **VALIDATED,
        },
        "about 10 evaluations, so it could never stop early",
    ),
)

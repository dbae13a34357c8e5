"""The schema of ``POST /v1/fine_tuning/jobs``. ``cyllm`` contains the options of this platform."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.schemas.chat import Identifier, Metadata
from api.openai.schemas.fields import AUTO, NUMBER, ModelName, auto_or_number
from api.openai.schemas.policies import Refused, Wire
from api.openai.schemas.unsupported_values import unsupported_values

MAX_INTEGER = 2**31 - 1
MAX_SUFFIX_LENGTH = 64

_REINFORCEMENT = "reinforcement needs graders, which are not available; use 'supervised' or 'dpo'"
_INTEGRATIONS = "metrics are not sent to other services; read them from the job's events"


Positive: TypeAlias = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
PositiveDecimal: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decimal: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ProperFraction: TypeAlias = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Switch: TypeAlias = Literal["auto", "on", "off"]
Auto: TypeAlias = Annotated[Literal["auto"], Tag(AUTO)]

Epochs: TypeAlias = Annotated[
    Auto | Annotated[int, Field(ge=1, le=50), Tag(NUMBER)], Discriminator(auto_or_number)
]
BatchSize: TypeAlias = Annotated[
    Auto | Annotated[int, Field(ge=1, le=256), Tag(NUMBER)], Discriminator(auto_or_number)
]
Multiplier: TypeAlias = Annotated[
    Auto | Annotated[float, Field(ge=1e-6, le=1000, allow_inf_nan=False), Tag(NUMBER)],
    Discriminator(auto_or_number),
]
Beta: TypeAlias = Annotated[
    Auto | Annotated[float, Field(ge=1e-6, le=2, allow_inf_nan=False), Tag(NUMBER)],
    Discriminator(auto_or_number),
]


class Hyperparameters(Wire):
    """OpenAI's hyperparameters of supervised fine-tuning."""

    n_epochs: Epochs | None = None
    batch_size: BatchSize | None = None
    learning_rate_multiplier: Multiplier | None = None


class DpoHyperparameters(Hyperparameters):
    """OpenAI's hyperparameters of direct preference optimization."""

    beta: Beta | None = None


class SupervisedMethod(Wire):
    """The configuration of supervised fine-tuning."""

    hyperparameters: Hyperparameters | None = None


class DpoMethod(Wire):
    """The configuration of direct preference optimization."""

    hyperparameters: DpoHyperparameters | None = None


class FineTuningMethod(Wire):
    """The method and its hyperparameters, which are under the name of the method."""

    type: Annotated[Literal["supervised", "dpo"], unsupported_values({"reinforcement": _REINFORCEMENT})]
    supervised: SupervisedMethod | None = None
    dpo: DpoMethod | None = None
    reinforcement: Annotated[None, Refused(_REINFORCEMENT)] = None


class EarlyStopping(Wire):
    """Stop when the validation loss has not improved by ``threshold`` in ``patience`` evaluations."""

    patience: Positive
    threshold: Decimal | None = None


ModuleName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


class TrainingOptions(Wire):
    """Options of this platform: those of the trainer (``training.engine.spec``) and those of the queue."""

    adapter: Literal["lora", "dora", "full"] | None = None
    rank: Positive | None = None
    alpha: PositiveDecimal | None = None
    dropout: ProperFraction | None = None
    target_modules: Annotated[list[ModuleName], Field(fail_fast=True, min_length=1, max_length=64)] | None = (
        None
    )
    max_length: Positive | None = None
    packing: Switch | None = None
    micro_batch_tokens: Positive | None = None
    gradient_checkpointing: Switch | None = None
    precision: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    scheduler: Literal["linear", "cosine", "constant"] | None = None
    warmup_ratio: ProperFraction | None = None
    weight_decay: Decimal | None = None
    max_grad_norm: PositiveDecimal | None = None
    early_stopping: EarlyStopping | None = None
    logging_steps: Positive | None = None
    eval_steps: Positive | None = None
    checkpoint_steps: Positive | None = None
    keep_checkpoints: Annotated[int, Field(ge=1, le=100)] | None = None

    learning_rate: Annotated[float, Field(ge=1e-10, le=1, allow_inf_nan=False)] | None = None
    publish: bool | None = None
    priority: Annotated[int, Field(ge=0, le=9)] | None = None
    worker_class: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] | None = None


class FineTuningRequest(Wire):
    """All parameters of a fine-tuning job."""

    model: ModelName
    training_file: Identifier
    validation_file: Identifier | None = None
    method: FineTuningMethod | None = None
    hyperparameters: Hyperparameters | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=MAX_SUFFIX_LENGTH)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = None
    metadata: Metadata | None = None
    integrations: Annotated[None, Refused(_INTEGRATIONS)] = None
    cyllm: TrainingOptions | None = None

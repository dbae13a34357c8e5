"""The format of a dataset file, identified by the fields of an example, and its reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from training.datasets.examples import Example
from training.datasets.formats.chat import CHAT_FIELDS, SHAREGPT_FIELDS, read_chat, read_sharegpt
from training.datasets.formats.fields import Fields
from training.datasets.formats.pairs import ALPACA_FIELDS, COMPLETION_FIELDS, read_alpaca, read_completion
from training.datasets.formats.preference import PREFERENCE_FIELDS, TRL_FIELDS, read_preference, read_trl

FormatName: TypeAlias = Literal["chat", "completion", "alpaca", "sharegpt", "preference", "trl_preference"]
Method: TypeAlias = Literal["supervised", "dpo"]


class Format(NamedTuple):
    """A format: the fields that identify it, all fields with a meaning, and its reader."""

    name: FormatName
    method: Method
    signature: tuple[str, ...]
    fields: tuple[str, ...]
    read: Callable[[Fields], Example | None]

    @property
    def phrase(self) -> str:
        """The format by its fields."""
        return " and ".join(self.signature)


FORMATS = (
    Format("chat", "supervised", ("messages",), (*CHAT_FIELDS, "functions", "function_call"), read_chat),
    Format("completion", "supervised", ("prompt", "completion"), COMPLETION_FIELDS, read_completion),
    Format("alpaca", "supervised", ("instruction", "output"), ALPACA_FIELDS, read_alpaca),
    Format("sharegpt", "supervised", ("conversations",), SHAREGPT_FIELDS, read_sharegpt),
    Format(
        "preference", "dpo", ("preferred_output", "non_preferred_output"), PREFERENCE_FIELDS, read_preference
    ),
    Format("trl_preference", "dpo", ("chosen", "rejected"), TRL_FIELDS, read_trl),
)
METHOD_CONTENTS: dict[str, str] = {
    "supervised": "conversations or prompts with completions",
    "dpo": "preference pairs",
}
ACCEPTED = "; ".join(f"{fmt.phrase} ({fmt.name})" for fmt in FORMATS)


def detect(value: dict[str, object]) -> Format | None:
    """Return the format whose signature an example has, None if there is none."""
    return next((fmt for fmt in FORMATS if all(name in value for name in fmt.signature)), None)


def read_example(fmt: Format, fields: Fields) -> tuple[Example | None, list[str]]:
    """Return an example, None after reporting its faults, and the names of the fields without a meaning."""
    other = detect(fields.value)
    if other is not None and other is not fmt and not any(name in fields.value for name in fmt.signature):
        found = f"an example in the format {other.name} ({other.phrase})"
        expected = f"the format of the earlier examples, {fmt.name} ({fmt.phrase})"
        fields.faults.add(fields.path, "other_format", found, expected)
        return None, []
    unknown = fields.misspelt(fmt.fields)
    example = fmt.read(fields)
    reported_paths = {fault.path for fault in fields.faults.items}
    ignored_names = [name for name in unknown if fields.at(name) not in reported_paths]
    return (None if fields.faults.items else example), ignored_names

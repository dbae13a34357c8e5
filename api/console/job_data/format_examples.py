"""An example line of each format of datasets, to be shown beside uploads."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from training.datasets.formats.detection import FORMATS, FormatName


@dataclass(frozen=True, slots=True)
class FormatExample:
    """A format with a valid line."""

    name: FormatName
    title: Promise
    line: str

    @property
    def method(self) -> str:
        """The method that trains on the format."""
        return next(fmt.method for fmt in FORMATS if fmt.name == self.name)


CHAT = """
{"messages": [{"role": "user", "content": "What is the capital of France?"}, \
{"role": "assistant", "content": "Paris."}]}"""
COMPLETION = '{"prompt": "The capital of France is", "completion": " Paris."}'
ALPACA = '{"instruction": "Name the capital.", "input": "France", "output": "Paris."}'
SHAREGPT = """
{"conversations": [{"from": "human", "value": "What is the capital of France?"}, \
{"from": "gpt", "value": "Paris."}]}"""
PREFERENCE = """
{"input": {"messages": [{"role": "user", "content": "What is the capital of France?"}]}, \
"preferred_output": [{"role": "assistant", "content": "Paris."}], \
"non_preferred_output": [{"role": "assistant", "content": "No idea."}]}"""
TRL = '{"prompt": "What is the capital of France?", "chosen": "Paris.", "rejected": "No idea."}'
FORMAT_EXAMPLES = (
    FormatExample("chat", _("OpenAI chat"), CHAT.strip()),
    FormatExample("completion", _("Prompt and completion"), COMPLETION),
    FormatExample("alpaca", _("Alpaca"), ALPACA),
    FormatExample("sharegpt", _("ShareGPT"), SHAREGPT.strip()),
    FormatExample("preference", _("OpenAI preference pairs"), PREFERENCE.strip()),
    FormatExample("trl_preference", _("TRL preference pairs"), TRL),
)

"""The first prompt of a job's data, to try its model with."""

from __future__ import annotations

import io
from dataclasses import dataclass

from tenants.files.models import StoredFile
from tenants.files.selectors import file_find, file_open
from training.datasets.examples import ChatExample, Example
from training.datasets.faults import Fault
from training.datasets.reading import Reading, read_examples
from training.models import FineTuningJob

MAX_BYTES = 256 << 10  # of the file; a longer first example is not offered
MAX_CHARS = 8000


@dataclass(frozen=True, slots=True)
class FirstPrompt:
    """The first message of a user, and the system prompt, empty without one. ``filename``: their file."""

    system: str
    text: str
    filename: str


def first_prompt(job: FineTuningJob) -> FirstPrompt | None:
    """Return the first prompt of the validation file, else of the training file. At most two queries."""
    for file_id in filter(None, (job.validation_file, job.training_file)):
        file = file_find(file_id=file_id, tenant_id=job.tenant_id)
        if file is not None and (prompt := _prompt_of_file(file)) is not None:
            return prompt
    return None


def _prompt_of_file(file: StoredFile) -> FirstPrompt | None:
    try:
        with file_open(file) as source:
            beginning = io.BytesIO(source.read(MAX_BYTES))
    except OSError:
        return None
    examples = read_examples(beginning, Reading())
    example = next((item for item in examples if not isinstance(item, Fault)), None)
    return None if example is None else _prompt_of_example(example, file.filename)


def _prompt_of_example(example: Example, filename: str) -> FirstPrompt | None:
    messages = example.messages if isinstance(example, ChatExample) else example.prompt
    system = messages[0].content if messages[0].role in ("system", "developer") else ""
    text = next((message.content for message in messages if message.role == "user"), "")
    return FirstPrompt(system, text, filename) if text and len(system + text) <= MAX_CHARS else None

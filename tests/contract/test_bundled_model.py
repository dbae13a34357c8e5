"""The bundled model as ``make run`` starts it."""

from __future__ import annotations

import re

import pytest

from tests.contract.conftest import LoadingReport
from tests.stacks import RunningStack


@pytest.mark.criterion("4.1")
def test_the_bundled_model_loads_in_stages_and_responds(
    stack: RunningStack, loading_report: LoadingReport
) -> None:
    assert loading_report.status == 503
    assert '"loading": 1' in loading_report.body
    assert "→ The capital of France is Paris." in stack.output
    notes = re.findall(r"model loading … (.*), \d+ s", stack.output)
    assert any(re.search(r"loading weights \(\d+ MiB\)", note) for note in notes)
    assert re.search(r"model loading … ready \(vllm, .* tokens\) in \d+\.\d s", stack.output)

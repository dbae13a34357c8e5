"""The tables in docs/fine-tuning.md name the options and the failures that exist, with their defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from api.openai.schemas.fine_tuning import TrainingOptions
from training.engine import events, spec
from training.jobs.failures import NO_INFERENCE_WORKER
from training.publishing.errors import VERIFICATION_FAILED
from training.requests.job_request import DEFAULT_PRIORITY, DEFAULT_WORKER_CLASS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
DEFAULTS = {
    **msgspec.to_builtins(spec.TrainingOptions()),
    "learning_rate": None,
    "publish": True,
    "priority": DEFAULT_PRIORITY,
    "worker_class": DEFAULT_WORKER_CLASS,
}
# Modules that end jobs. ``Failure(code="…"``, ``Diagnosis("…"`` and ``_unusable("…"`` are the causes.
SOURCES = (
    "file_validation.py",
    "engine/diagnosis.py",
    "engine/disk_faults.py",
    "queue",
    "supervisor",
    "publishing",
)
_CODE = re.compile(r'(?:Failure\(\s*code=|Diagnosis\(\s*|_unusable\()"(\w+)"')


def _table(heading: str) -> dict[str, str]:
    """Return the first two columns of the table under a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.M)
    return dict(rows)


def _failure_codes() -> Iterator[str]:
    for name in SOURCES:
        path = ROOT / "training" / name
        for file in [path] if path.is_file() else path.rglob("*.py"):
            yield from _CODE.findall(file.read_text(encoding="utf-8"))


def test_the_page_has_every_option_with_its_default() -> None:
    options = {name: json.loads(text.strip("`")) for name, text in _table("Options").items()}
    assert list(options) == list(TrainingOptions.model_fields)
    assert options == json.loads(json.dumps(DEFAULTS))


def test_the_page_has_every_failure_of_a_job() -> None:
    assert set(_table("Errors")) == {*_failure_codes(), VERIFICATION_FAILED, NO_INFERENCE_WORKER}


def test_the_page_names_all_figures_of_metrics() -> None:
    section = PAGE.split("\n## Events\n")[1].split("\n## ")[0]
    figures = {*events.Progress.__struct_fields__, *events.Evaluation.__struct_fields__}
    renames = {"loss", "token_accuracy"}
    expected = {*(figures - renames), "train_loss", "train_mean_token_accuracy"}
    expected |= {"valid_loss", "valid_mean_token_accuracy"}
    documented_names = set(re.findall(r"`(\w+)`", section.split("figures in `data`:")[1].split("`cyllm`")[0]))
    assert documented_names == expected


def test_the_quickstart_is_a_program() -> None:
    code = PAGE.split("```python\n")[1].split("```")[0]
    compile(code, "quickstart", "exec")
    assert len(PAGE.split("## Files")[0].splitlines()) < 60, "the quickstart is longer than a page"

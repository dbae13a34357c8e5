"""The estimate of a new job takes speed, overhead and device from the latest run of the same model."""

from __future__ import annotations

import datetime as dt
import inspect
import io
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.contrib.staticfiles.finders import find
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone, translation
from django.utils.html import escape

from api.console.job_data.format_examples import FORMAT_EXAMPLES
from api.console.job_data.note_texts import NOTE_TEXTS
from api.console.templatetags.console import size
from inference_worker.registry.models import ServedModel, Visibility
from inference_worker.registry.services import model_register
from tenants.files.creation import NewFile, file_store
from tenants.files.models import Purpose
from tests.console.harness.jobs import MODEL, job_with_steps, running_token
from tests.people import Cast
from training.datasets.formats.detection import FORMATS
from training.datasets.structure import check_structure
from training.datasets.tokens import preparation
from training.engine.events import Choice
from training.engine.hardware.memory_prediction import memory_model, read_shape
from training.engine.spec import TrainingOptions
from training.jobs.past_runs import latest_run
from training.models import FineTuningJob
from training.supervisor.results.recording import events_record

pytestmark = pytest.mark.django_db
ENDED = timezone.now()


def _past_run(cast: Cast, **changes: Any) -> FineTuningJob:
    """Return a job of another tenant that trained 100 steps in 200 s and took 260 s."""
    job = job_with_steps(cast.globex, 100, total=100)
    events_record(
        running_token(job),
        Choice(subject="precision", value="bfloat16", reason="tests"),
        Choice(
            subject="gradient_checkpointing",
            value="on",
            reason="tests",
            figures={"available_bytes": 600 << 20, "peak_bytes": 1, "is_cpu": 0},
        ),
    )
    values = {
        "status": "succeeded",
        "tokens_per_s": 50.0,
        "started_at": ENDED - dt.timedelta(seconds=260),
        "finished_at": ENDED,
    }
    FineTuningJob.objects.filter(id=job.id).update(**values | changes)
    return job


def _report(cast: Cast, **changes: str) -> str:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "word " * 50}]
    content = io.BytesIO((json.dumps({"messages": turns}) + "\n").encode() * 8)
    new = NewFile(filename="a.jsonl", purpose=Purpose.FINE_TUNE, dataset_report={"examples": 8})
    file = file_store(tenant_id=cast.acme.id, content=content, new=new, actor="tests")
    model_register(name=MODEL, actor="tests")
    browser = Client()
    browser.force_login(cast.member)
    values = {"training_file": file.id, "model": MODEL, "n_epochs": "2", "batch_size": "4"} | changes
    return browser.post("/console/acme/jobs/new/report/", values).content.decode()


def _fact(page: str, name: str) -> str:
    match = re.search(rf'data-fact="{name}">([^<]*)<', page)
    assert match is not None
    return match[1]


def test_time_includes_the_overhead_and_memory_is_planned_for_the_device_of_the_latest_run(
    cast: Cast, settings: Any, tiny_model: Path
) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_models": {MODEL: tiny_model}})
    assert "unknown before the first job" in _report(cast)
    _past_run(cast)
    page = _report(cast)
    total_tokens = int(_fact(page, "total-tokens").replace(",", ""))
    seconds = round(total_tokens / 50 + 60)
    assert _fact(page, "time") == (
        f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
    )
    assert "The time includes 1 min 0 s to prepare the job" in page
    trained_tokens, tokens = (int(_fact(page, name).replace(",", "")) for name in ("trained", "tokens"))
    model = memory_model(read_shape(tiny_model), TrainingOptions(), "bfloat16", trained_tokens / tokens)
    largest = model.largest(600 << 20, checkpoints_gradients=False)
    assert 0 < largest < 16_384, "the memory bounds the micro-batch"
    assert _fact(page, "memory") == size(model.predict(largest, checkpoints_gradients=False))


def test_a_model_that_the_tenant_may_not_see_has_no_figures(
    cast: Cast, settings: Any, tiny_model: Path
) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_models": {MODEL: tiny_model}})
    _past_run(cast)
    _report(cast)
    ServedModel.objects.filter(name=MODEL).update(training_price=10**9)
    page = _report(cast)
    assert _fact(page, "memory")
    assert "$" in page
    ServedModel.objects.filter(name=MODEL).update(visibility=Visibility.RESTRICTED)
    page = _report(cast)
    assert 'data-fact="memory"' not in page
    assert "$" not in page


@pytest.mark.parametrize("value", ["0.5", "1e400", "257"])
def test_figures_are_estimated_without_numbers_that_no_job_may_have(
    cast: Cast, settings: Any, tiny_model: Path, value: str
) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_models": {MODEL: tiny_model}})
    page = _report(cast, n_epochs=value, batch_size=value)
    usual_page = _report(cast, n_epochs="", batch_size="")
    pattern = re.compile(r"\d+ epochs, batches of \d+")
    assert pattern.findall(page) == pattern.findall(usual_page) != []


def test_a_report_that_fails_names_the_file_of_the_model_but_no_folder(
    cast: Cast, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_models": {MODEL: tmp_path}})
    page = _report(cast)
    assert "The check failed: python -m training.datasets: …/tokenizer.json can" in page
    assert str(tmp_path) not in page


def test_uploads_show_a_valid_line_of_every_format(cast: Cast) -> None:
    browser = Client()
    browser.force_login(cast.member)
    pages = [browser.get(f"/console/acme/{path}/").content.decode() for path in ("jobs/new", "files")]
    for example in FORMAT_EXAMPLES:
        report = check_structure(io.BytesIO(example.line.encode()))
        assert (report.format, report.method, report.is_valid) == (example.name, example.method, True)
        assert report.notes == () or {note.code for note in report.notes} == {"no_last_newline"}
        assert all(escape(example.line) in page for page in pages)
    assert [example.name for example in FORMAT_EXAMPLES] == [fmt.name for fmt in FORMATS]


def test_the_example_file_has_no_faults_and_is_offered_beside_uploads(cast: Cast) -> None:
    browser = Client()
    browser.force_login(cast.member)
    for path in ("jobs/new", "files"):
        page = browser.get(f"/console/acme/{path}/").content.decode()
        assert re.search(r'id="example-file" href="[^"]*/console/example[^"]*\.jsonl"', page)
    file = find("console/example.jsonl")
    assert file is not None
    report = check_structure(io.BytesIO(Path(file).read_bytes()))
    assert (report.format, report.examples, report.duplicates) == ("chat", 10, 0)
    assert (report.faults, report.notes) == ((), ())


def test_the_notes_of_a_report_are_translated() -> None:
    line = FORMAT_EXAMPLES[0].line.encode()
    files = (b"\xef\xbb\xbf" + line + b"\r\n\r\n" + line, b"[" + line + b"]")
    notes = [note for file in files for note in check_structure(io.BytesIO(file)).notes]
    assert {note.code for note in notes} == {"bom", "crlf", "blank_lines", "no_last_newline", "json_array"}
    sources = inspect.getsource(preparation)
    token_notes = [text for text in NOTE_TEXTS if f'"{text}"' in sources]
    assert {note.message for note in notes} | set(token_notes) == set(NOTE_TEXTS)
    context = {"report": {"notes": msgspec.to_builtins(notes)}}
    with translation.override("zh-hans"):
        page = render_to_string("console/files/report.html", context)
    assert "文件以字节顺序标记（BOM）开头" in page
    assert not [note.message for note in notes if escape(note.message) in page]


def test_an_interrupted_run_tells_its_speed_only(cast: Cast, settings: Any, tiny_model: Path) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_models": {MODEL: tiny_model}})
    _past_run(cast, attempt_count=2)
    run = latest_run(MODEL, "default")
    assert run is not None
    assert (run.tokens_per_s, run.overhead_s) == (50.0, None)
    assert "The time is that of the training alone" in _report(cast)
    assert latest_run(MODEL, "large") is None

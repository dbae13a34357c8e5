"""Check and tokenisation of a dataset file for one model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import msgspec

from training.datasets.examples import ChatExample, Example
from training.datasets.faults import Fault
from training.datasets.formats.detection import Method
from training.datasets.formatting import count_text
from training.datasets.lines import ByteSource
from training.datasets.report import DatasetReport, Note, RunFigures
from training.datasets.structure import DEFAULT_MAX_FAULTS, check_structure
from training.datasets.tokens.answers import ExampleError
from training.datasets.tokens.cache import CacheWriter, TokenCache, open_cache
from training.datasets.tokens.counts import TokenCounts, token_count
from training.datasets.tokens.estimate import auto_batch_size, auto_epochs, estimate_training
from training.datasets.tokens.masks import chat_samples, check_model, pair_samples
from training.datasets.tokens.samples import Dropped, Sample, SamplePair, fit, fit_pair
from training.datasets.tokens.tokenizer import ModelTokenizer

CACHE_VERSION = 2
Keep: TypeAlias = Callable[[Sample | SamplePair], None]


class DatasetError(Exception):
    """A dataset that can't be trained on: faults, or nothing left. ``report`` says why."""

    def __init__(self, message: str, report: DatasetReport) -> None:
        super().__init__(message)
        self.report = report


def check_dataset(
    source: Path | str | ByteSource,
    tokenizer: ModelTokenizer,
    *,
    method: Method | None = None,
    max_length: int | None = None,
    run: RunFigures | None = None,
    max_faults: int = DEFAULT_MAX_FAULTS,
) -> DatasetReport:
    """Check a file with a model's tokenizer and chat template. Raises ModelError and OSError.

    ``max_length``: tokens per sequence, at most the model's context length, which is the default.
    """
    return _check(source, tokenizer, method, max_length, run, max_faults, lambda _: None)


def prepare(
    path: Path,
    folder: Path,
    tokenizer: ModelTokenizer,
    *,
    method: Method = "supervised",
    max_length: int | None = None,
) -> TokenCache:
    """Return the token cache of a file in ``folder``, a new one unless file, model and options are the same.

    Raises DatasetError for faults and if no sample is left, ModelError, and OSError.
    """
    key = _key(path, tokenizer, method, max_length)
    cache = open_cache(folder, key)
    if cache is not None:
        return cache
    with CacheWriter(folder, method) as writer:
        report = _check(path, tokenizer, method, max_length, None, DEFAULT_MAX_FAULTS, writer.write)
        require_samples(report)
        return writer.publish(key, report)


def require_samples(report: DatasetReport) -> None:
    """Raise DatasetError unless a file has no faults and something to train on."""
    if report.fault_count:
        first = f", the first: {report.faults[0].message}" if report.faults else ""
        raise DatasetError(f"the dataset has {count_text(report.fault_count)}{first}", report)
    if report.tokens is None or report.tokens.samples == 0:
        dropped_counts = report.tokens.dropped if report.tokens else {}
        counts = ", ".join(f"{reason}: {count}" for reason, count in dropped_counts.items())
        raise DatasetError(f"none of the {report.examples} examples is left to train on ({counts})", report)


def _check(
    source: Path | str | ByteSource,
    tokenizer: ModelTokenizer,
    method: Method | None,
    max_length: int | None,
    run: RunFigures | None,
    max_faults: int,
    keep: Keep,
) -> DatasetReport:
    check_model(tokenizer)
    limits = [limit for limit in (max_length, tokenizer.max_positions) if limit is not None]
    counts = TokenCounts(min(limits, default=None))

    def visit(example: Example) -> Fault | None:
        try:
            _tokenise(tokenizer, example, counts, keep)
        except ExampleError as error:
            return error.fault
        return None

    report = check_structure(source, max_faults=max_faults, method=method, visit=visit)
    tokens = counts.report()
    notes = (*report.notes, *_notes(tokenizer, report))
    report = msgspec.structs.replace(report, tokens=tokens, notes=notes)
    if run is None or tokens.lengths is None:
        return report
    batch_size = run.batch_size or auto_batch_size(report.examples)
    estimate = estimate_training(
        tokens,
        epochs=run.epochs or auto_epochs(report.examples, batch_size),
        batch_size=batch_size,
        tokens_per_s=run.tokens_per_s,
    )
    return msgspec.structs.replace(report, estimate=estimate)


def _tokenise(tokenizer: ModelTokenizer, example: Example, counts: TokenCounts, keep: Keep) -> None:
    results: list[tuple[Sample | SamplePair, Sample | SamplePair | Dropped]]
    if isinstance(example, ChatExample):
        samples = chat_samples(tokenizer, example)
        results = [(sample, fit(sample, counts.max_length)) for sample in samples]
    else:
        pair = pair_samples(tokenizer, example)
        results = [(pair, fit_pair(pair, counts.max_length))]
    for before, result in results:
        if isinstance(result, Dropped):
            counts.drop(result, length_before=token_count(before))
        else:
            counts.add(result, length_before=token_count(before))
            keep(result)


def _notes(tokenizer: ModelTokenizer, report: DatasetReport) -> list[Note]:
    notes = []
    template = tokenizer.template
    if not tokenizer.is_exact:
        message = "The trainer builds this tokenizer by its class: token counts can differ slightly."
        notes.append(Note(code="tokenizer_class", message=message))
    if template is not None and template.uses_clock:
        message = "The chat template inserts the date; training uses a fixed one."
        notes.append(Note(code="template_clock", message=message))
    if template is None and report.format == "completion":
        message = "The model has no chat template: prompts and completions are joined as they are."
        notes.append(Note(code="no_template", message=message))
    elif template is not None and report.format == "completion":
        message = "Prompts are rendered as the user's message and completions as the answer."
        notes.append(Note(code="completion_as_chat", message=message))
    return notes


def _key(path: Path, tokenizer: ModelTokenizer, method: Method, max_length: int | None) -> str:
    with path.open("rb") as stream:
        file_digest = hashlib.file_digest(stream, "sha256").hexdigest()
    parts = (CACHE_VERSION, file_digest, tokenizer.fingerprint, method, max_length)
    return hashlib.sha256(repr(parts).encode()).hexdigest()

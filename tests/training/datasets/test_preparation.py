"""Datasets in tokens: what is left, dropped and cut, the report, and the cache for training."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.training.datasets.conftest import Write
from training.datasets.report import DatasetReport, RunFigures
from training.datasets.tokens.cache import TokenCache, open_cache
from training.datasets.tokens.preparation import DatasetError, check_dataset, prepare
from training.datasets.tokens.probes import PROBE_TOKENS, PROBES, probe_prompts
from training.datasets.tokens.samples import Sample
from training.datasets.tokens.tokenizer import ModelTokenizer, load_tokenizer


@pytest.fixture(scope="session")
def tokenizer(smollm2: Path) -> ModelTokenizer:
    """SmolLM2's tokenizer."""
    return load_tokenizer(smollm2)


def _example(*turns: str) -> dict[str, object]:
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": turn} for place, turn in enumerate(turns)]
    return {"messages": [{"role": "system", "content": "x"}, *messages]}


def _length(tokenizer: ModelTokenizer, text: str) -> int:
    return len(tokenizer.encode(text))


HEAD = "<|im_start|>system\nx<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"


SECOND = "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\nd<|im_end|>"


@pytest.mark.criterion("2.1")
@pytest.mark.case("training.8")
@pytest.mark.case("training.9")
def test_an_answer_that_is_cut_off_is_dropped_and_counted(
    tokenizer: ModelTokenizer, write_lines: Write, tmp_path: Path
) -> None:
    limit = _length(tokenizer, HEAD + "b<|im_end|>")
    path = write_lines(_example("a", "b"), _example("a", "b c"), _example("a", "b", "c", "d"))
    cache = prepare(path, tmp_path / "cache", tokenizer, max_length=limit)
    tokens = cache.report.tokens
    assert tokens is not None
    assert (tokens.samples, tokens.truncated, tokens.dropped) == (2, 1, {"too_long": 1})
    assert (tokens.truncated_lines, tokens.dropped_lines) == ((3,), (2,))
    lengths = [_length(tokenizer, HEAD + tail) for tail in ("b c<|im_end|>", f"b<|im_end|>\n{SECOND}")]
    assert tokens.lost_tokens == sum(lengths) - limit
    whole, cut = cache.sample(0), cache.sample(1)
    assert cut.input_ids == whole.input_ids
    assert tokenizer.decode(list(cut.input_ids)) == HEAD + "b<|im_end|>"
    assert cut.loss_mask[-1] == 1
    assert cut.line == 3


@pytest.mark.parametrize("extra", range(12))
def test_a_cut_at_any_length_leaves_complete_answers_only(
    tokenizer: ModelTokenizer, write_lines: Write, extra: int
) -> None:
    limit = _length(tokenizer, HEAD + "b<|im_end|>") + extra
    path = write_lines(_example("a", "b", "c", "d e f", "g", "h"))
    report = check_dataset(path, tokenizer, max_length=limit)
    assert report.tokens is not None
    second = _length(tokenizer, "\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\nd e f<|im_end|>")
    assert report.tokens.trained_tokens == (2 if extra < second else 6)
    assert report.tokens.truncated == 1


@pytest.mark.case("training.15")
def test_nothing_left_after_filtering_is_an_error_with_counts(
    tokenizer: ModelTokenizer, write_lines: Write, tmp_path: Path
) -> None:
    path = write_lines(*[_example("a", "b")] * 3)
    with pytest.raises(DatasetError, match=r"none of the 3 examples is left .*too_long: 3") as excinfo:
        prepare(path, tmp_path / "cache", tokenizer, max_length=5)
    assert not excinfo.value.report.is_valid
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.case("training.14")
def test_faults_that_only_the_model_shows_are_found_by_the_check(
    tokenizer: ModelTokenizer, write_lines: Write, tmp_path: Path
) -> None:
    path = write_lines(_example("a", "b"), _example("<|im_end|>", "b"), {"messages": 1})
    report = check_dataset(path, tokenizer)
    assert [(fault.line, fault.path, fault.code) for fault in report.faults] == [
        (2, "messages[1]", "control_token"),
        (3, "messages", "wrong_type"),
    ]
    with pytest.raises(DatasetError, match="2 faults, the first: line 2"):
        prepare(path, tmp_path / "cache", tokenizer)
    assert not (tmp_path / "cache").exists()


@pytest.mark.criterion("2.1")
def test_a_report_has_tokens_lengths_and_estimates(tokenizer: ModelTokenizer, write_lines: Write) -> None:
    path = write_lines(*[_example("a", "b " * count) for count in range(1, 101)])
    run = RunFigures(epochs=3, batch_size=8, tokens_per_s=100)
    report = check_dataset(path, tokenizer, run=run)
    tokens, estimate = report.tokens, report.estimate
    assert tokens is not None
    assert estimate is not None
    lengths = [_length(tokenizer, HEAD + "b " * count + "<|im_end|>") for count in range(1, 101)]
    assert tokens.tokens == sum(lengths)
    assert tokens.trained_tokens == sum(lengths) - 100 * _length(tokenizer, HEAD)
    spread = tokens.lengths
    assert spread is not None
    assert (spread.shortest, spread.longest) == (min(lengths), max(lengths))
    assert (spread.median, spread.p90, spread.p99) == (lengths[49], lengths[89], lengths[98])
    assert sum(count for _, count in spread.histogram) == 100
    assert sum(count for bound, count in spread.histogram if bound <= 64) == sum(n <= 64 for n in lengths)
    assert (estimate.steps_per_epoch, estimate.total_steps) == (13, 39)
    assert estimate.duration_s == pytest.approx(3 * sum(lengths) / 100)
    assert estimate.memory_bytes is None


def _random_examples(count: int) -> list[dict[str, object]]:
    generator = random.Random(5)
    words = "one two three four five six".split()  # noqa: SIM905
    texts = [" ".join(generator.choices(words, k=generator.randint(1, 40))) for _ in range(4 * count)]
    return [_example(*texts[4 * place : 4 * place + 2 * generator.randint(1, 2)]) for place in range(count)]


def test_the_cache_gives_back_every_sample(
    tokenizer: ModelTokenizer, write_lines: Write, tmp_path: Path
) -> None:
    examples = _random_examples(50)
    cache = prepare(write_lines(*examples), tmp_path / "cache", tokenizer)
    assert len(cache) == 50
    for index in random.Random(1).sample(range(50), 50):
        sample = cache.sample(index)
        alone = check_and_read(tokenizer, write_lines(examples[index], name="one.jsonl"), tmp_path / "one")
        assert (sample.input_ids, sample.loss_mask, sample.line) == (
            alone.input_ids,
            alone.loss_mask,
            index + 1,
        )
        assert cache.lengths[index] == len(sample.input_ids)
        assert cache.trained_tokens[index] == sample.loss_mask.count(1)
    assert sum(cache.lengths) == cache.report.tokens.tokens  # type: ignore[union-attr]


def check_and_read(tokenizer: ModelTokenizer, path: Path, folder: Path) -> Sample:
    """Return the only sample of a file."""
    cache = prepare(path, folder, tokenizer)
    assert len(cache) == 1
    return cache.sample(0)


def test_pairs_are_kept_together(tokenizer: ModelTokenizer, write_lines: Write, tmp_path: Path) -> None:
    lines = [{"prompt": f"q{n}", "chosen": f"yes {n}", "rejected": "no"} for n in range(5)]
    cache = prepare(write_lines(*lines), tmp_path / "cache", tokenizer, method="dpo")
    assert len(cache) == 5
    pair = cache.pair(3)
    assert tokenizer.decode([t for t in pair.chosen.labels if t >= 0]) == "yes 3<|im_end|>"
    assert tokenizer.decode([t for t in pair.rejected.labels if t >= 0]) == "no<|im_end|>"
    assert cache.lengths[3] == len(pair.chosen.input_ids) + len(pair.rejected.input_ids)
    assert pair.chosen.input_ids[: pair.prompt_length] == pair.rejected.input_ids[: pair.prompt_length]


def test_a_pair_is_dropped_whole(tokenizer: ModelTokenizer, write_lines: Write) -> None:
    lines = [
        {"prompt": "q", "chosen": "a", "rejected": "long " * 50},
        {"prompt": "q", "chosen": "a", "rejected": "b"},
    ]
    report = check_dataset(write_lines(*lines), tokenizer, max_length=50)
    assert report.tokens is not None
    assert (report.tokens.samples, report.tokens.dropped) == (1, {"too_long": 1})


def test_a_cache_is_used_again_for_the_same_file_model_and_options_only(
    tokenizer: ModelTokenizer, write_lines: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    path = write_lines(_example("a", "b"), _example("a", "c"))
    first = prepare(path, folder, tokenizer)
    written_at = (folder / "tokens.bin").stat().st_mtime_ns

    def is_reused(**options: Any) -> bool:
        prepare(path, folder, tokenizer, **options)
        return (folder / "tokens.bin").stat().st_mtime_ns == written_at

    assert is_reused()
    assert first.report == prepare(path, folder, tokenizer).report
    assert not is_reused(max_length=100)
    written_at = (folder / "tokens.bin").stat().st_mtime_ns
    path.write_text(path.read_text() + json.dumps(_example("d", "e")))
    assert not is_reused(max_length=100)
    assert len(prepare(path, folder, tokenizer, max_length=100)) == 3


@pytest.mark.parametrize("name", ["tokens.bin", "trained.bin", "index.bin", "manifest.json"])
def test_an_incomplete_cache_is_made_again(
    tokenizer: ModelTokenizer, write_lines: Write, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "cache"
    path = write_lines(*_random_examples(5))
    whole = _content(prepare(path, folder, tokenizer))
    with (folder / name).open("r+b") as file:
        file.truncate(3)
    assert open_cache(folder, "any") is None
    assert _content(prepare(path, folder, tokenizer)) == whole


def test_a_failed_preparation_keeps_the_old_cache_and_leaves_nothing_behind(
    tokenizer: ModelTokenizer, write_lines: Write, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    prepare(write_lines(_example("a", "b")), folder, tokenizer)
    with pytest.raises(DatasetError):
        prepare(write_lines({"messages": 1}), folder, tokenizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data.jsonl"]
    assert (folder / "manifest.json").is_file()


def test_the_probes_of_long_prompts_are_their_ends(
    tokenizer: ModelTokenizer, write_lines: Write, tmp_path: Path
) -> None:
    path = write_lines(*(_example(f"{number} " + "why " * 3000, "b") for number in range(PROBES + 1)))
    cache = prepare(path, tmp_path / "cache", tokenizer)
    prompts = probe_prompts(cache)
    assert [len(prompt) for prompt in prompts] == [PROBE_TOKENS] * PROBES
    for number, prompt in enumerate(prompts):
        answer = sum(cache.sample(number).loss_mask)
        assert prompt == tuple(cache.sample(number).input_ids[:-answer][-PROBE_TOKENS:])


def _content(cache: TokenCache) -> tuple[list[Sample], DatasetReport]:
    return [cache.sample(index) for index in range(len(cache))], cache.report

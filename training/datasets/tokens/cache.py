"""Token cache on disk: tokenised once, read at random, complete or absent.

``tokens.bin`` (int32) and ``trained.bin`` (uint8) hold all sequences one after the other, ``index.bin`` the
int64 fields ``_ROW`` of each, and ``manifest.json``, written last, the key, the method and the report. A
sample is one sequence, or two (chosen, rejected) with the method "dpo".
"""

from __future__ import annotations

import mmap
import os
import shutil
from array import array
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from training.datasets.formats.detection import Method
from training.datasets.report import DatasetReport
from training.datasets.tokens.samples import Sample, SamplePair
from training.durable_files import sync, write_file

_ROW = ("offset", "length", "trained", "line", "prompt_length")
_MANIFEST = "manifest.json"
_FILES = ("tokens.bin", "trained.bin", "index.bin")


class _Manifest(msgspec.Struct, kw_only=True):
    key: str
    method: Method
    report: DatasetReport
    sizes: dict[str, int]


class TokenCache:
    """Samples of a prepared file. ``lengths`` and ``trained_tokens``: per sample; a pair counts as one."""

    def __init__(self, folder: Path, manifest: _Manifest) -> None:
        self.method = manifest.method
        self.report = manifest.report
        self._width = 2 if manifest.method == "dpo" else 1
        self._tokens = _map(folder / "tokens.bin").cast("i")
        self._loss_masks = _map(folder / "trained.bin")
        self._index = _map(folder / "index.bin").cast("q")
        self.lengths = self._column("length")
        self.trained_tokens = self._column("trained")

    def __len__(self) -> int:
        return len(self.lengths)

    def _column(self, name: str) -> array[int]:
        column = self._index[_ROW.index(name) :: len(_ROW)].tolist()
        return array("q", map(sum, zip(*[iter(column)] * self._width, strict=True)))

    def lines(self) -> list[int]:
        """Return the line of each sample in the file."""
        return self._index[_ROW.index("line") :: len(_ROW)].tolist()[:: self._width]

    def sample(self, index: int) -> Sample:
        """Return a sample of the method "supervised", as writable copies."""
        return self._sequence(index)[0]

    def pair(self, index: int) -> SamplePair:
        """Return a sample of the method "dpo", as writable copies."""
        chosen, prompt_length = self._sequence(2 * index)
        rejected, _ = self._sequence(2 * index + 1)
        return SamplePair(chosen, rejected, prompt_length)

    def _sequence(self, number: int) -> tuple[Sample, int]:
        start = number * len(_ROW)
        offset, length, _, line, prompt_length = self._index[start : start + len(_ROW)]
        ids = array("i", bytes(self._tokens[offset : offset + length]))
        return Sample(ids, bytearray(self._loss_masks[offset : offset + length]), line), prompt_length


def open_cache(folder: Path, key: str | None = None) -> TokenCache | None:
    """Return the complete cache in a folder, or None. ``key``: the key that it must have, if any."""
    try:
        manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=_Manifest)
        sizes = {name: (folder / name).stat().st_size for name in _FILES}
    except (OSError, msgspec.DecodeError):
        return None
    is_usable = manifest.sizes == sizes and key in (None, manifest.key)
    return TokenCache(folder, manifest) if is_usable else None


def _map(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class CacheWriter:
    """Writes a cache beside its place; ``publish`` moves it there. Without that, its files are removed."""

    def __init__(self, folder: Path, method: Method) -> None:
        self._folder = folder
        self._method = method
        self._partial = folder.with_name(f"{folder.name}.partial")
        self._files: list[BinaryIO] = []
        self._offset = 0

    def __enter__(self) -> Self:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self._files = [(self._partial / name).open("wb", buffering=1 << 20) for name in _FILES]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()
        shutil.rmtree(self._partial, ignore_errors=True)

    def write(self, sample: Sample | SamplePair) -> None:
        """Append a sample."""
        if isinstance(sample, Sample):
            self._append(sample, 0)
        else:
            self._append(sample.chosen, sample.prompt_length)
            self._append(sample.rejected, sample.prompt_length)

    def _append(self, sequence: Sample, prompt_length: int) -> None:
        tokens, loss_masks, index = self._files
        length = len(sequence.input_ids)
        tokens.write(sequence.input_ids)
        loss_masks.write(sequence.loss_mask)
        row = (self._offset, length, sequence.loss_mask.count(1), sequence.line, prompt_length)
        index.write(array("q", row))
        self._offset += length

    def publish(self, key: str, report: DatasetReport) -> TokenCache:
        """Make the files durable, then move the cache into its place. Raises OSError."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        sizes = {name: (self._partial / name).stat().st_size for name in _FILES}
        manifest = _Manifest(key=key, method=self._method, report=report, sizes=sizes)
        write_file(self._partial / _MANIFEST, msgspec.json.encode(manifest))
        shutil.rmtree(self._folder, ignore_errors=True)
        self._partial.rename(self._folder)
        sync(self._folder.parent)
        return TokenCache(self._folder, manifest)

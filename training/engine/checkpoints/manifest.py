"""Checkpoints on disk: published whole or not at all, and proven by a manifest of checksums.

A checkpoint is a folder ``step-00000042``. It is written under another name, its manifest last, then synced
and renamed. All of it is data, not code: tensors as safetensors, the rest as JSON.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from inference_worker.telemetry.masking import mask_folders
from training.durable_files import sync, write_file

MANIFEST = "manifest.json"
TRAINER = "trainer"  # subfolder of what only the trainer needs
STATE = f"{TRAINER}/state.json"
_FOLDER = re.compile(r"step-(\d{8,})")
_PARTIAL = ".partial-"
_BLOCK = 1 << 20


class InvalidCheckpointError(Exception):
    """A checkpoint is incomplete or damaged. The text, which the tenant sees, names no folder."""

    def __init__(self, reason: str) -> None:
        super().__init__(mask_folders(reason))


class FileEntry(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """Files of a folder by name."""

    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint."""

    step: int
    path: Path


def folder_name(step: int) -> str:
    """Return the name of a step's folder."""
    return f"step-{step:08d}"


def list_checkpoints(root: Path) -> list[Checkpoint]:
    """Return the published checkpoints, newest first, unverified."""
    if not root.is_dir():
        return []
    matches = ((_FOLDER.fullmatch(path.name), path) for path in root.iterdir())
    return sorted(
        (Checkpoint(int(match[1]), path) for match, path in matches if match), key=lambda c: -c.step
    )


# ---- write ----


def partial_folder(root: Path, attempt: int, name: str) -> Path:
    """Return a new empty folder to write to before it is published under ``name``."""
    path = root / f"{_PARTIAL}{attempt}-{name}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def remove_partial_folders(root: Path) -> None:
    """Remove what earlier attempts left half written."""
    if root.is_dir():
        for path in root.glob(f"{_PARTIAL}*"):
            shutil.rmtree(path, ignore_errors=True)


def seal_folder(folder: Path) -> None:
    """Sync all files, then write the manifest. Raises OSError."""
    files = {}
    for path in _files(folder):
        sync(path)
        files[path.relative_to(folder).as_posix()] = _entry(path)
    write_file(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(Manifest(files)), indent=1))
    sync(folder)


def move_into_place(partial: Path, target: Path) -> None:
    """Give a sealed folder its final name, replacing a folder there. Raises OSError."""
    if target.exists():
        obsolete = partial.with_name(f"{partial.name}-old")
        shutil.rmtree(obsolete, ignore_errors=True)
        target.rename(obsolete)
        partial.rename(target)
        sync(target.parent)
        shutil.rmtree(obsolete, ignore_errors=True)
        return
    partial.rename(target)
    sync(target.parent)


# ---- read ----


def verify_checkpoint(folder: Path) -> None:
    """Check that a checkpoint is whole and can be resumed. Raises InvalidCheckpointError naming the fault."""
    if STATE not in verify_folder(folder).files:
        raise InvalidCheckpointError("it has no trainer state")


def verify_folder(folder: Path) -> Manifest:
    """Check a folder against its manifest. Raises InvalidCheckpointError naming the fault."""
    manifest = _read_manifest(folder)
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise InvalidCheckpointError(f"{name} is missing")
        if path.stat().st_size != entry.size:
            raise InvalidCheckpointError(f"{name} has {path.stat().st_size} bytes instead of {entry.size}")
        if _entry(path) != entry:
            raise InvalidCheckpointError(f"the checksum of {name} differs from that in the manifest")
    return manifest


def _read_manifest(folder: Path) -> Manifest:
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise InvalidCheckpointError("the manifest is missing") from None
    except (msgspec.DecodeError, OSError) as error:
        raise InvalidCheckpointError(f"the manifest is not readable: {error}") from error


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _entry(path: Path) -> FileEntry:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return FileEntry(path.stat().st_size, digest.hexdigest())


# ---- rotate ----


def rotate(
    root: Path, keep: int, protected_steps: Collection[int], damaged_steps: Collection[int] = ()
) -> None:
    """Remove old checkpoints, except the newest ``keep`` valid ones and those of ``protected_steps``.

    Call after a new one is published. Those of ``damaged_steps`` only look complete.
    """
    valid = 0
    for checkpoint in list_checkpoints(root):
        if valid >= keep and checkpoint.step not in protected_steps:
            _remove(checkpoint)
        elif checkpoint.step not in damaged_steps and _looks_complete(checkpoint.path):
            valid += 1


def _remove(checkpoint: Checkpoint) -> None:
    # Renamed first: a folder under a checkpoint's name is never half removed.
    obsolete = checkpoint.path.with_name(f"{_PARTIAL}old-{checkpoint.path.name}")
    shutil.rmtree(obsolete, ignore_errors=True)
    try:
        checkpoint.path.rename(obsolete)
    except OSError:  # for the next rotation
        return
    shutil.rmtree(obsolete, ignore_errors=True)


def _looks_complete(folder: Path) -> bool:
    try:
        files = _read_manifest(folder).files
        return STATE in files and all(
            (folder / name).stat().st_size == entry.size for name, entry in files.items()
        )
    except (InvalidCheckpointError, OSError):
        return False

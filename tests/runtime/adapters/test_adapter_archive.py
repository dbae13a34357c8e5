"""Archives of adapters: the same bytes for the same contents, and nothing else is unpacked."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.protocol.adapter_archive import (
    CONFIG_NAME,
    MAX_CONFIG_BYTES,
    WEIGHTS_NAME,
    ArchiveError,
    folder_digest,
    pack,
    unpack,
)

CONFIG, WEIGHTS = b'{"r": 8}', bytes(range(256)) * 5


def adapter(folder: Path, config: bytes = CONFIG, weights: bytes = WEIGHTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_NAME).write_bytes(config)
    (folder / WEIGHTS_NAME).write_bytes(weights)
    return folder


def packed(folder: Path) -> bytes:
    archive = io.BytesIO()
    pack(folder, archive)
    return archive.getvalue()


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return an archive as tarfile would write it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive.getvalue()


def unpacked(archive: bytes, folder: Path) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    unpack(io.BytesIO(archive), folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_archive_depends_on_the_contents_only(tmp_path: Path) -> None:
    first, second = adapter(tmp_path / "a"), adapter(tmp_path / "b")
    os.utime(second / CONFIG_NAME, (1, 1))
    (second / WEIGHTS_NAME).chmod(0o400)
    (second / "README.md").write_text("not packed")
    assert packed(first) == packed(second)
    assert folder_digest(first) == hashlib.sha256(packed(first)).hexdigest()
    assert folder_digest(adapter(tmp_path / "c", weights=WEIGHTS + b"x")) != folder_digest(first)


def test_any_tar_program_reads_the_archive(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(adapter(tmp_path / "a")))) as tar:
        assert tar.getnames() == [CONFIG_NAME, WEIGHTS_NAME]
        member = tar.extractfile(WEIGHTS_NAME)
        assert member is not None
        assert member.read() == WEIGHTS


def test_the_archive_has_a_known_digest(tmp_path: Path) -> None:
    """Stored archives keep their names across versions."""
    digest = folder_digest(adapter(tmp_path / "a"))
    assert digest == "a4a5a586f39df4e22b08452ba7eee273443c1811ec4d004b135ad3c496009375"


@given(config=st.binary(max_size=1500), weights=st.binary(max_size=3000))
def test_packing_and_unpacking_are_inverse(
    tmp_path_factory: pytest.TempPathFactory, config: bytes, weights: bytes
) -> None:
    root = tmp_path_factory.mktemp("round")
    archive = packed(adapter(root / "in", config, weights))
    assert unpacked(archive, root / "out") == {CONFIG_NAME: config, WEIGHTS_NAME: weights}


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME])
def test_a_folder_without_a_file_is_not_packed(tmp_path: Path, name: str) -> None:
    folder = adapter(tmp_path / "a")
    (folder / name).unlink()
    with pytest.raises(ArchiveError, match=f"{name} is missing"):
        packed(folder)


def link(kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(CONFIG_NAME)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


def with_mode(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode = 0o4755
    return member


EVIL: dict[str, Callable[[], bytes]] = {
    "path": lambda: tar_of((tarfile.TarInfo("../adapter_config.json"), CONFIG)),
    "absolute path": lambda: tar_of((tarfile.TarInfo("/etc/adapter_config.json"), CONFIG)),
    "folder": lambda: tar_of((tarfile.TarInfo(f"x/{CONFIG_NAME}"), CONFIG)),
    "symbolic link": lambda: tar_of((link(tarfile.SYMTYPE), b"")),
    "hard link": lambda: tar_of((link(tarfile.LNKTYPE), b"")),
    "device": lambda: tar_of((link(tarfile.CHRTYPE), b"")),
    "sparse file": lambda: tar_of((link(tarfile.GNUTYPE_SPARSE), b"")),
    "mode": lambda: tar_of((with_mode(CONFIG_NAME), CONFIG)),
    "order": lambda: tar_of((tarfile.TarInfo(WEIGHTS_NAME), WEIGHTS), (tarfile.TarInfo(CONFIG_NAME), CONFIG)),
    "twice": lambda: tar_of((tarfile.TarInfo(CONFIG_NAME), CONFIG), (tarfile.TarInfo(CONFIG_NAME), CONFIG)),
    "pickle": lambda: tar_of(
        (tarfile.TarInfo(CONFIG_NAME), CONFIG), (tarfile.TarInfo("adapter_model.bin"), WEIGHTS)
    ),
    "one file": lambda: tar_of((tarfile.TarInfo(CONFIG_NAME), CONFIG)),
    "long name": lambda: tar_of((tarfile.TarInfo("a" * 300), CONFIG)),
    "large configuration": lambda: tar_of(
        (tarfile.TarInfo(CONFIG_NAME), b" " * (MAX_CONFIG_BYTES + 1)), (tarfile.TarInfo(WEIGHTS_NAME), b"")
    ),
    "empty": lambda: b"",
    "text": lambda: b"<html>403 Forbidden</html>" * 40,
}


@pytest.mark.parametrize("archive", EVIL.values(), ids=EVIL)
def test_an_archive_of_anything_else_is_refused(tmp_path: Path, archive: Callable[[], bytes]) -> None:
    with pytest.raises(ArchiveError):
        unpacked(archive(), tmp_path / "out")
    assert not (tmp_path / CONFIG_NAME).exists()
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names <= {CONFIG_NAME, WEIGHTS_NAME}
    assert not any(file.is_symlink() for file in (tmp_path / "out").iterdir())


def test_more_members_and_trailing_data_are_refused(tmp_path: Path) -> None:
    files = [(tarfile.TarInfo(CONFIG_NAME), CONFIG), (tarfile.TarInfo(WEIGHTS_NAME), WEIGHTS)]
    archives = [tar_of(*files, (tarfile.TarInfo("x"), b"x")), packed(adapter(tmp_path / "a")) + bytes(1)]
    for number, archive in enumerate(archives):
        with pytest.raises(ArchiveError, match="there is data after"):
            unpacked(archive, tmp_path / str(number))


def test_a_truncated_archive_is_refused_at_every_length(tmp_path: Path) -> None:
    archive = packed(adapter(tmp_path / "a", b"{}", b"weights"))
    for length in range(0, len(archive), 61):
        with pytest.raises(ArchiveError):
            unpacked(archive[:length], tmp_path / str(length))


@given(position=st.integers(0, 3583), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_structure_is_refused_or_changes_a_file(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    root = tmp_path_factory.mktemp("flip")
    archive = bytearray(packed(adapter(root / "a", CONFIG, WEIGHTS)))
    archive[position % len(archive)] ^= 1 << bit
    try:
        files = unpacked(bytes(archive), root / "out")
    except ArchiveError:
        return
    assert files != {CONFIG_NAME: CONFIG, WEIGHTS_NAME: WEIGHTS}

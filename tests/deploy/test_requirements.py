"""The pinned requirement files: exact, closed, and in agreement with each other."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts.pin import ENGINES, FILES, MARKER, ROOT, canonical, pins, upper_half

LISTS = (*FILES, "requirements/cpu-nodeps.txt", "requirements/gpu-nodeps.txt")
# asked for by packages that are installed without their own lists, and left out on purpose
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec", "triton", "llm"}


def _lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", LISTS)
def test_every_line_pins_one_exact_version(name: str) -> None:
    lines = _lines(name)
    assert lines
    assert len(pins("\n".join(lines))) == len(lines)


@pytest.mark.parametrize("name", LISTS)
def test_every_direct_dependency_says_why_it_is_there(name: str) -> None:
    upper = upper_half((ROOT / name).read_text(encoding="utf-8")).splitlines()
    bulk = (
        upper.index("# don't need and whose usual builds don't match this torch.")
        if "cpu.txt" in name
        else len(upper)
    )
    for number, line in enumerate(upper[:bulk]):
        if line and not line.startswith("#"):
            assert upper[number - 1].startswith("# "), f"{name}: {line} has no reason"


def test_files_that_are_installed_together_agree() -> None:
    for engine in ENGINES:
        together: dict[str, str] = {}
        for name in (name for name in FILES if Path(name).name not in ENGINES or Path(name).name == engine):
            for package, version in pins((ROOT / name).read_text(encoding="utf-8")).items():
                assert together.setdefault(package, version) == version, f"{package} in {name}"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements/cpu.txt", "requirements/dev.txt"])
def test_whatever_a_pinned_package_asks_for_is_pinned_too(name: str) -> None:
    listed = pins((ROOT / name).read_text(encoding="utf-8"))
    nodeps = pins((ROOT / "requirements/cpu-nodeps.txt").read_text(encoding="utf-8"))
    missing = []
    for package in listed:
        for text in metadata.requires(package) or []:
            wanted = Requirement(text)
            if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
                continue
            known = canonical(wanted.name)
            if known not in listed and known not in nodeps and known not in LEFT_OUT:
                missing.append(f"{package} asks for {text}")
    assert missing == []


def test_what_is_installed_here_is_what_is_pinned() -> None:
    for name in (
        "requirements.txt",
        "requirements/cpu.txt",
        "requirements/cpu-nodeps.txt",
        "requirements/dev.txt",
    ):
        for package, version in pins((ROOT / name).read_text(encoding="utf-8")).items():
            assert metadata.version(package) == version, package


def test_the_lower_half_is_marked_as_written_by_the_script() -> None:
    for name in FILES:
        assert MARKER in (ROOT / name).read_text(encoding="utf-8")

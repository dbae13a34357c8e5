"""The requirement files pin exact versions of all packages and agree with each other."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts.pin import ENGINES, FILES, MARKER, ROOT, canonical, pins, upper_half

LISTS = (*FILES, "requirements/pip.txt", "requirements/cpu-nodeps.txt", "requirements/gpu-nodeps.txt")
# required by packages that are installed with --no-deps, and omitted on purpose
OMITTED = {"torchvision", "torchaudio", "torchcodec", "triton", "llm"}


def _lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", LISTS)
def test_every_line_pins_one_exact_version(name: str) -> None:
    lines = _lines(name)
    assert lines
    assert len(pins("\n".join(lines))) == len(lines)


@pytest.mark.parametrize("name", LISTS)
def test_every_direct_dependency_has_a_reason(name: str) -> None:
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
        versions: dict[str, str] = {}
        for name in (name for name in FILES if Path(name).name not in ENGINES or Path(name).name == engine):
            for package, version in pins((ROOT / name).read_text(encoding="utf-8")).items():
                assert versions.setdefault(package, version) == version, f"{package} in {name}"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements/cpu.txt", "requirements/dev.txt"])
def test_every_requirement_of_a_pinned_package_is_pinned(name: str) -> None:
    own_pins = pins((ROOT / name).read_text(encoding="utf-8"))
    nodeps_pins = pins((ROOT / "requirements/cpu-nodeps.txt").read_text(encoding="utf-8"))
    unpinned_names = []
    for package in own_pins:
        for text in metadata.requires(package) or []:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            name = canonical(requirement.name)
            if name not in own_pins and name not in nodeps_pins and name not in OMITTED:
                unpinned_names.append(f"{package} requires {text}")
    assert unpinned_names == []


def test_the_installed_versions_are_the_pinned_ones() -> None:
    for name in (
        "requirements.txt",
        "requirements/cpu.txt",
        "requirements/cpu-nodeps.txt",
        "requirements/dev.txt",
    ):
        for package, version in pins((ROOT / name).read_text(encoding="utf-8")).items():
            assert metadata.version(package) == version, package


def test_the_generated_half_is_marked() -> None:
    for name in FILES:
        assert MARKER in (ROOT / name).read_text(encoding="utf-8")

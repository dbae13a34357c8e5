"""Documents name files, folders and modules that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
# A module may be named from any folder on its way; other paths begin at the root.
MODULE = re.compile(r"`([\w./-]+\.py)\b")
PATH = re.compile(rf"`((?:{'|'.join(re.escape(folder.name) for folder in FOLDERS)})/[\w./-]*)`")


@pytest.fixture(scope="module")
def modules() -> set[str]:
    """All paths to modules, from the root and from every folder on the way."""
    parts = [path.relative_to(ROOT).parts for folder in FOLDERS for path in folder.rglob("*.py")]
    root_modules = {path.name for path in ROOT.glob("*.py")}
    return root_modules | {"/".join(path[start:]) for path in parts for start in range(len(path))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_paths_named_in_a_document_exist(document: Path, modules: set[str]) -> None:
    text = document.read_text()
    unknown_modules = set(MODULE.findall(text)) - modules
    unknown_paths = {path for path in PATH.findall(text) if not (ROOT / path).exists()}
    assert unknown_modules | unknown_paths == set()

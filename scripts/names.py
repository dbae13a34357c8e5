"""Fail for variables, parameters and attributes that are named by a bare participle, such as ``received``.

A noun says what such a name holds: a request, a batch, the rows to delete.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.file_length import tracked_files

ROOT = Path(__file__).resolve().parents[1]

IRREGULAR = re.compile(
    "become|begun|bought|broken|brought|built|caught|chosen|done|drawn|fed|felt|found|given|gone|grown|heard|"
    "held|hidden|hung|kept|known|laid|led|lost|made|meant|met|paid|said|seen|sent|shown|sought|spent|spoken|"
    "stolen|taken|taught|thrown|told|torn|worn|written"
)
REGULAR = re.compile("[a-z]{2,}ed")
NOUNS = re.compile("bed|embed|feed|need|seed|speed|weed")


@dataclass(frozen=True, slots=True)
class Exemption:
    """Words of the field or of a format, which stay as they are below some paths."""

    words: str
    paths: tuple[str, ...]
    reason: str


EXEMPTIONS = (
    Exemption("expected", ("tests/",), "the value that a test compares with"),
    Exemption(
        "streamed relayed resolved", ("tests/",), "fields of messages and columns, and parameters for them"
    ),
    Exemption("found expected", ("training/datasets/",), "fields of a fault in a dataset's report"),
    Exemption(
        "chosen rejected", ("training/", "benchmarks/training/"), "the two answers of a preference pair"
    ),
    Exemption(
        "created deleted supervised paused",
        (
            *("api/openai/", "api/admin_api/schemas/", "inference_worker/runtime/calls/projection.py"),
            "inference_worker/registry/selectors.py",
        ),
        "fields of bodies",
    ),
    Exemption(
        "completed cancelled failed refused lost",
        (
            "tenants/usage/",
            "api/admin_api/schemas/records.py",
            "api/openai/schemas/response_bodies/health.py",
        ),
        "numbers of requests or workers, named by their outcome or state as in the database and in bodies",
    ),
    Exemption(
        "used requested required needed expected",
        ("api/openai/errors/", "api/gateway/state/job_creation.py", "training/requests/refusals.py"),
        "placeholders in the messages of documented errors",
    ),
    Exemption(
        "streamed relayed",
        (
            "inference_worker/protocol/",
            "inference_worker/client/",
            "tenants/ledger/",
            "tenants/record_models.py",
        ),
        "fields of messages and columns",
    ),
    Exemption(
        "enabled cached",
        ("inference_worker/registry/", "inference_worker/protocol/", "api/admin_api/schemas/models.py"),
        "columns and fields of a model and its prices",
    ),
    Exemption("supported", ("inference_worker/protocol/faults.py",), "a field of a message"),
    Exemption(
        "truncated dropped", ("training/engine/events.py", "training/datasets/report.py"), "fields of JSON"
    ),
    Exemption("unimproved", ("training/engine/",), "a field of the state in a checkpoint"),
    Exemption("resolved packed", ("training/",), "columns of jobs"),
    Exemption("finished", ("tests/runtime/engine/test_fast_path.py",), "an attribute of vLLM's outputs"),
    Exemption("started", ("training/supervisor/orphans.py",), "a field of a file"),
    Exemption("superseded", ("api/console/job_data/series.py",), "a field of the charts' JSON"),
    Exemption("required", ("tenants/admin_pages/tenants.py",), "an attribute of Django's form fields"),
    Exemption("confirmed", ("cyllm_site/sign_in/second_factor.py",), "an attribute of django-otp's devices"),
    Exemption("disconnected", ("cyllm_site/http_guard/protocol.py",), "an attribute of uvicorn's cycles"),
)


def is_participle(name: str) -> bool:
    """Return whether a name is one past participle and nothing else. A leading underscore doesn't count."""
    word = name.strip("_")
    return bool(IRREGULAR.fullmatch(word) or (REGULAR.fullmatch(word) and not NOUNS.fullmatch(word)))


def bindings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each variable, parameter and attribute that is bound."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name


def is_exempt(path: str, name: str) -> bool:
    """Return whether a name is a word of the field at this place."""
    return any(
        name.strip("_") in exemption.words.split() and path.startswith(exemption.paths)
        for exemption in EXEMPTIONS
    )


def main() -> int:
    """Run the command; the exit status is 0 if there is no such name."""
    count = 0
    for file in tracked_files(ROOT):
        path = file.relative_to(ROOT).as_posix()
        for line, name in bindings(ast.parse(file.read_text(encoding="utf-8"))):
            if is_participle(name) and not is_exempt(path, name):
                print(f"{path}:{line}: {name}")
                count += 1
    print(f"{count} names that are bare participles")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())

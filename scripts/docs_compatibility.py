"""Writes docs/compatibility.md from the schemas and the tests; ``--check`` tells whether it is current.

Every parameter of OpenAI's current API, as its SDK has it, and every one of ours has a row, and every row
a test. A parameter that is neither taken nor refused with a reason, or that no test shows, is an error.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# The repository's root has to be on the path for what follows.
from openai.types import completion_create_params, embedding_create_params  # noqa: E402
from openai.types.chat import completion_create_params as chat_create_params  # noqa: E402
from openai.types.responses import response_create_params  # noqa: E402
from pydantic import BaseModel  # noqa: E402

from api.openai.responses.parameters import UNSUPPORTED_RESPONSES  # noqa: E402
from api.openai.responses.schema import ResponseRequest  # noqa: E402
from api.openai.schemas.chat import ChatRequest  # noqa: E402
from api.openai.schemas.completions import CompletionRequest  # noqa: E402
from api.openai.schemas.embeddings import EmbeddingRequest  # noqa: E402
from api.openai.schemas.parameters import (  # noqa: E402
    UNSUPPORTED_CHAT,
    UNSUPPORTED_COMPLETIONS,
    UNSUPPORTED_EMBEDDINGS,
    UNSUPPORTED_TOKENIZE,
    WITHOUT_EFFECT,
)
from api.openai.schemas.tokenize import DetokenizeRequest, TokenizeRequest  # noqa: E402
from scripts.generated import write_or_check  # noqa: E402

Tests: TypeAlias = Mapping[tuple[str, str, str], list[str]]

PAGE = ROOT / "docs" / "compatibility.md"
HEAD = """# Compatibility

Each parameter of each endpoint: honoured or refused, and the test that shows it. Made by
`scripts/docs_compatibility.py` from the schemas, from the parameters of the official SDK, and from the
marks of the tests. `null` stands for the default everywhere; whatever is not in a table is refused as
`unknown_parameter`.
"""
COLUMNS = "| parameter | OpenAI's | here | shown by |\n|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the code does with the parameters of one endpoint, and what OpenAI's SDK sends to it."""

    name: str
    path: str
    schema: type[BaseModel]
    refused: Mapping[str, str]
    without_effect: Mapping[str, str]
    specified: frozenset[str]

    def parameters(self) -> list[str]:
        """OpenAI's first, then those that are taken beyond them, then those that are refused."""
        taken, known = set(self.names()), self.specified
        return [*sorted(known), *sorted(taken - known), *sorted(set(self.refused) - known - taken)]

    def names(self) -> Iterator[str]:
        """The parameters of the schema as they are written in a request."""
        for name, field in self.schema.model_fields.items():
            yield field.alias or name

    def verdict(self, parameter: str) -> str:
        """What becomes of a parameter. Raises KeyError for one that the code doesn't know."""
        if parameter in self.names():
            reason = self.without_effect.get(parameter)
            return f"accepted, no effect: {reason}" if reason else "honoured"
        return f"refused: {self.refused[parameter]}"


def _effectless(*names: str) -> Mapping[str, str]:
    return {name: WITHOUT_EFFECT[name] for name in names}


ENDPOINTS = (
    Endpoint(
        "chat",
        "POST /v1/chat/completions",
        ChatRequest,
        UNSUPPORTED_CHAT,
        WITHOUT_EFFECT,
        frozenset(chat_create_params.CompletionCreateParamsBase.__annotations__) | {"stream"},
    ),
    Endpoint(
        "completions",
        "POST /v1/completions",
        CompletionRequest,
        UNSUPPORTED_COMPLETIONS,
        WITHOUT_EFFECT,
        frozenset(completion_create_params.CompletionCreateParamsBase.__annotations__) | {"stream"},
    ),
    Endpoint(
        "responses",
        "POST /v1/responses",
        ResponseRequest,
        UNSUPPORTED_RESPONSES,
        _effectless("user", "safety_identifier", "prompt_cache_key"),
        frozenset(response_create_params.ResponseCreateParamsBase.__annotations__) | {"stream"},
    ),
    Endpoint(
        "embeddings",
        "POST /v1/embeddings",
        EmbeddingRequest,
        UNSUPPORTED_EMBEDDINGS,
        _effectless("user"),
        frozenset(embedding_create_params.EmbeddingCreateParams.__annotations__),
    ),
    Endpoint("tokenize", "POST /tokenize", TokenizeRequest, UNSUPPORTED_TOKENIZE, {}, frozenset()),
    Endpoint("detokenize", "POST /detokenize", DetokenizeRequest, {}, {}, frozenset()),
)


def collected() -> Tests:
    """The tests by mark, endpoint and parameter. Raises RuntimeError if they can't be collected."""
    tests: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shown.json"
        options = ("--collect-only", "-qq", "-p", "no:cacheprovider", f"--shown-parameters={file}")
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", *options], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if not file.exists():
            raise RuntimeError(f"the tests can't be collected:\n{ran.stdout}{ran.stderr}")
        for mark, endpoint, parameter, test in json.loads(file.read_text()):
            tests[mark, endpoint, parameter].append(test)
    return tests


def page(tests: Tests, faults: list[str]) -> str:
    """The text of the page. What is wrong with the tables is added to ``faults``."""
    faults += _marks_of_nothing(tests)
    return HEAD + "".join(_section(endpoint, tests, faults) for endpoint in ENDPOINTS)


def _marks_of_nothing(tests: Tests) -> Iterable[str]:
    known = {endpoint.name: set(endpoint.parameters()) for endpoint in ENDPOINTS}
    for (_, endpoint, parameter), names in tests.items():
        if parameter not in known.get(endpoint, ()):
            yield f"{names[0]} shows '{parameter}' of {endpoint}, which is no parameter there"


def _section(endpoint: Endpoint, tests: Tests, faults: list[str]) -> str:
    rows = [_row(endpoint, parameter, tests, faults) for parameter in endpoint.parameters()]
    return f"\n## {endpoint.path}\n\n{COLUMNS}{''.join(rows)}"


def _row(endpoint: Endpoint, parameter: str, tests: Tests, faults: list[str]) -> str:
    try:
        verdict = endpoint.verdict(parameter)
    except KeyError:
        faults.append(
            f"{endpoint.name}: '{parameter}' is in OpenAI's API, and neither taken nor refused here"
        )
        return ""
    mark = "refuses" if verdict.startswith("refused") else "honours"
    names = tests.get((mark, endpoint.name, parameter), [])
    if not names:
        faults.append(f"{endpoint.name}: no test {mark} '{parameter}'")
    shown = "<br>".join(f"`{name.removeprefix('tests/')}`" for name in names[:3])
    cells = (f"`{parameter}`", "yes" if parameter in endpoint.specified else "", verdict, shown)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main(arguments: list[str]) -> int:
    """Write or check; the exit status is 1 if the page is out of date or a row is not as it must be."""
    faults: list[str] = []
    status = write_or_check(PAGE, page(collected(), faults), arguments)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

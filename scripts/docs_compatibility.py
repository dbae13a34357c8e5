"""Generate docs/compatibility.md from the schemas and the tests. ``--check`` verifies that it is up to date.

The page has a row for every parameter of OpenAI's SDK and of the platform, and a test for every row. It is
an error if a parameter is neither accepted nor rejected with a reason, or if it has no test.
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

# These imports need the path above.
from openai.types import completion_create_params, embedding_create_params  # noqa: E402
from openai.types.chat import completion_create_params as chat_create_params  # noqa: E402
from openai.types.responses import response_create_params  # noqa: E402
from pydantic import BaseModel  # noqa: E402

from api.openai.responses.schemas.parameters import UNSUPPORTED_RESPONSES  # noqa: E402
from api.openai.responses.schemas.request import ResponseRequest  # noqa: E402
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

Every parameter of every endpoint, whether it is honoured or refused, and the tests for it.
`scripts/docs_compatibility.py` generates the tables from the schemas, the official SDK's parameters and the
marks of the tests. `null` always means the default; a parameter that is not in the table is refused as
`unknown_parameter`.
"""
COLUMNS = "| parameter | in OpenAI's API | CY-LLM | tests |\n|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Parameters of one endpoint: accepted, refused, without effect, and those of OpenAI's SDK."""

    name: str
    path: str
    schema: type[BaseModel]
    unsupported: Mapping[str, str]
    without_effect: Mapping[str, str]
    specified: frozenset[str]

    def parameters(self) -> list[str]:
        """Return OpenAI's parameters first, then additional ones, then refused ones."""
        names = set(self.names())
        others = set(self.unsupported) - self.specified - names
        return [*sorted(self.specified), *sorted(names - self.specified), *sorted(others)]

    def names(self) -> Iterator[str]:
        """Yield the schema's parameters as a request spells them."""
        for name, field in self.schema.model_fields.items():
            yield field.alias or name

    def verdict(self, parameter: str) -> str:
        """Return whether a parameter is honoured. Raises KeyError for an unknown one."""
        if parameter in self.names():
            reason = self.without_effect.get(parameter)
            return f"accepted, no effect: {reason}" if reason else "honoured"
        return f"refused: {self.unsupported[parameter]}"


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


def collect_tests() -> Tests:
    """Return the tests by mark, endpoint and parameter. Raises RuntimeError if pytest fails."""
    tests: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shown.json"
        options = ("--collect-only", "-qq", "-p", "no:cacheprovider", f"--shown-parameters={file}")
        process = subprocess.run(
            [sys.executable, "-m", "pytest", *options], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if not file.exists():
            raise RuntimeError(f"pytest can't collect the tests:\n{process.stdout}{process.stderr}")
        for mark, endpoint, parameter, test in json.loads(file.read_text()):
            tests[mark, endpoint, parameter].append(test)
    return tests


def page(tests: Tests, faults: list[str]) -> str:
    """Return the text of the page; add problems in the tables to ``faults``."""
    faults += _unknown_marks(tests)
    return HEAD + "".join(_section(endpoint, tests, faults) for endpoint in ENDPOINTS)


def _unknown_marks(tests: Tests) -> Iterable[str]:
    parameters = {endpoint.name: set(endpoint.parameters()) for endpoint in ENDPOINTS}
    for (_, endpoint, parameter), names in tests.items():
        if parameter not in parameters.get(endpoint, ()):
            yield f"{names[0]} is marked with '{parameter}', which is not a parameter of {endpoint}"


def _section(endpoint: Endpoint, tests: Tests, faults: list[str]) -> str:
    rows = [_row(endpoint, parameter, tests, faults) for parameter in endpoint.parameters()]
    return f"\n## {endpoint.path}\n\n{COLUMNS}{''.join(rows)}"


def _row(endpoint: Endpoint, parameter: str, tests: Tests, faults: list[str]) -> str:
    try:
        verdict = endpoint.verdict(parameter)
    except KeyError:
        faults.append(f"{endpoint.name}: '{parameter}' of OpenAI's API is neither accepted nor refused")
        return ""
    mark = "refuses" if verdict.startswith("refused") else "honours"
    names = tests.get((mark, endpoint.name, parameter), [])
    if not names:
        faults.append(f"{endpoint.name}: no test {mark} '{parameter}'")
    tests_cell = "<br>".join(f"`{name.removeprefix('tests/')}`" for name in names[:3])
    cells = (f"`{parameter}`", "yes" if parameter in endpoint.specified else "", verdict, tests_cell)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main(arguments: list[str]) -> int:
    """Write or check the page; the exit status is 1 if it is out of date or has problems."""
    faults: list[str] = []
    status = write_or_check(PAGE, page(collect_tests(), faults), arguments)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

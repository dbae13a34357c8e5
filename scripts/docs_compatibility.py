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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# These imports need the path above.
from openai.types import completion_create_params, embedding_create_params, file_create_params  # noqa: E402
from openai.types.chat import completion_create_params as chat_create_params  # noqa: E402
from openai.types.fine_tuning import job_create_params  # noqa: E402
from openai.types.responses import response_create_params  # noqa: E402
from pydantic import BaseModel  # noqa: E402

from api.openai.responses.schemas.request import ResponseRequest  # noqa: E402
from api.openai.schemas.chat import ChatRequest  # noqa: E402
from api.openai.schemas.completions import CompletionRequest  # noqa: E402
from api.openai.schemas.embeddings import EmbeddingRequest  # noqa: E402
from api.openai.schemas.files import FileRequest  # noqa: E402
from api.openai.schemas.fine_tuning import FineTuningRequest  # noqa: E402
from api.openai.schemas.policies import Fixed, Hint, Label, Refused, declarations  # noqa: E402
from api.openai.schemas.tokenize import DetokenizeRequest, TokenizeRequest  # noqa: E402
from scripts.generated import write_or_check  # noqa: E402

Tests: TypeAlias = Mapping[tuple[str, str, str], list[str]]

PAGE = ROOT / "docs" / "compatibility.md"
HEAD = """# Compatibility

Every parameter of every endpoint, whether it is honoured or refused, and the tests for it.
`scripts/docs_compatibility.py` generates the tables from the policies that the schemas declare
(`api/openai/schemas/policies.py`), the official SDK's parameters and the marks of the tests. `null` always
means the default; a parameter that is not in the table is refused as `unknown_parameter`. A hint that has no
effect on a request is named in the header `x-cyllm-no-effect` of its answer.

Messages and input items are history: unknown keys below `messages[]` and `input[]` are dropped.
"""
COLUMNS = "| parameter | in OpenAI's API | CY-LLM | tests |\n|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint with its schema and the parameters of OpenAI's SDK."""

    name: str
    path: str
    schema: type[BaseModel]
    openai_names: frozenset[str]

    def verdicts(self) -> dict[str, str]:
        """Return the verdict of each parameter: OpenAI's first, then additional ones, then refused ones."""
        by_name = {declaration.name: declaration.policy for declaration in declarations(self.schema)}
        names = sorted(by_name, key=lambda name: self._rank(name, by_name[name]))
        return {name: _verdict(by_name[name]) for name in names}

    def _rank(self, name: str, policy: object) -> tuple[int, str]:
        return (0 if name in self.openai_names else 2 if isinstance(policy, Refused) else 1, name)


def _verdict(policy: object) -> str:
    match policy:
        case Refused(reason):
            return f"refused: {reason}"
        case Hint(reason) | Fixed(reason):
            return f"accepted, no effect: {reason}"
        case Label(reason):
            return f"accepted, a label: {reason}"
    return "honoured"


def _sdk_names(parameters: type) -> frozenset[str]:
    """Return the names in the SDK's type; ``stream`` is in types of its own."""
    is_streamable = parameters not in (
        embedding_create_params.EmbeddingCreateParams,
        file_create_params.FileCreateParams,
        job_create_params.JobCreateParams,
    )
    return frozenset({*parameters.__annotations__, *(("stream",) if is_streamable else ())})


ENDPOINTS = (
    Endpoint(
        "chat",
        "POST /v1/chat/completions",
        ChatRequest,
        _sdk_names(chat_create_params.CompletionCreateParamsBase),
    ),
    Endpoint(
        "completions",
        "POST /v1/completions",
        CompletionRequest,
        _sdk_names(completion_create_params.CompletionCreateParamsBase),
    ),
    Endpoint(
        "responses",
        "POST /v1/responses",
        ResponseRequest,
        _sdk_names(response_create_params.ResponseCreateParamsBase),
    ),
    Endpoint(
        "embeddings",
        "POST /v1/embeddings",
        EmbeddingRequest,
        _sdk_names(embedding_create_params.EmbeddingCreateParams),
    ),
    Endpoint("files", "POST /v1/files", FileRequest, _sdk_names(file_create_params.FileCreateParams)),
    Endpoint(
        "fine_tuning",
        "POST /v1/fine_tuning/jobs",
        FineTuningRequest,
        _sdk_names(job_create_params.JobCreateParams),
    ),
    Endpoint("tokenize", "POST /tokenize", TokenizeRequest, frozenset()),
    Endpoint("detokenize", "POST /detokenize", DetokenizeRequest, frozenset()),
)


def collect_tests() -> Tests:
    """Return the tests by mark, endpoint and parameter. Raises RuntimeError if pytest fails."""
    tests: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "parameter_tests.json"
        options = ("--collect-only", "-qq", "-p", "no:cacheprovider", f"--parameter-tests={file}")
        process = subprocess.run(
            [sys.executable, "-m", "pytest", *options], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if not file.exists():
            raise RuntimeError(f"pytest can't collect the tests:\n{process.stdout}{process.stderr}")
        for mark, endpoint, parameter, test in json.loads(file.read_text()):
            tests[mark, endpoint, parameter].append(test)
    return tests


def page(tests: Tests) -> tuple[str, list[str]]:
    """Return the text of the page, and the problems in its tables."""
    faults = list(_unknown_marks(tests))
    text = HEAD + "".join(_section(endpoint, tests, faults) for endpoint in ENDPOINTS)
    return text, faults


def _unknown_marks(tests: Tests) -> Iterable[str]:
    parameters = {endpoint.name: endpoint.verdicts().keys() for endpoint in ENDPOINTS}
    for (_, endpoint, parameter), names in tests.items():
        if parameter not in parameters.get(endpoint, ()):
            yield f"{names[0]} is marked with '{parameter}', which is not a parameter of {endpoint}"


def _section(endpoint: Endpoint, tests: Tests, faults: list[str]) -> str:
    verdicts = endpoint.verdicts()
    for name in sorted(endpoint.openai_names - verdicts.keys()):
        faults.append(f"{endpoint.name}: '{name}' of OpenAI's API is not declared")
    rows = [_row(endpoint, parameter, verdict, tests, faults) for parameter, verdict in verdicts.items()]
    return f"\n## {endpoint.path}\n\n{COLUMNS}{''.join(rows)}"


def _row(endpoint: Endpoint, parameter: str, verdict: str, tests: Tests, faults: list[str]) -> str:
    mark = "refuses" if verdict.startswith("refused") else "honours"
    names = tests.get((mark, endpoint.name, parameter), [])
    if not names:
        faults.append(f"{endpoint.name}: no test {mark} '{parameter}'")
    tests_cell = "<br>".join(f"`{name.removeprefix('tests/')}`" for name in names[:3])
    cells = (f"`{parameter}`", "yes" if parameter in endpoint.openai_names else "", verdict, tests_cell)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main(arguments: list[str]) -> int:
    """Write or check the page; the exit status is 1 if it is out of date or has problems."""
    text, faults = page(collect_tests())
    status = write_or_check(PAGE, text, arguments)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

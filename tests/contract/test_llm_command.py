"""The unmodified command line ``llm``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.contract.client_environments import ClientRunner, python_clients

ANSWER = "The capital of France is Paris.\n"
QUESTION = "What is the capital of France?"
MODELS = """
- model_id: ours
  model_name: {model}
  api_base: {base_url}/v1
  api_key_name: ours
  supports_schema: true
- model_id: ours-completion
  model_name: {model}
  api_base: {base_url}/v1
  api_key_name: ours
  completion: true
- model_id: ours-responses
  model_name: {model}
  api_base: {base_url}/v1
  api_key_name: ours
  responses: true
"""


class Command:
    """``llm`` with greedy sampling."""

    def __init__(self, client_runner: ClientRunner) -> None:
        self._client_runner = client_runner
        self._program = str(python_clients() / "llm")
        folder = client_runner.home / "llm"
        folder.mkdir(exist_ok=True)
        text = MODELS.format(model=client_runner.stack.model, base_url=client_runner.stack.base_url)
        (folder / "extra-openai-models.yaml").write_text(text)
        (folder / "keys.json").write_text(json.dumps({"ours": client_runner.stack.key}))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return self._client_runner.run([self._program, *arguments])

    def ask(self, *arguments: str, model: str = "ours", limit: int = 40) -> str:
        """Return the output for a prompt."""
        options = ("-o", "temperature", "0", "-o", "max_tokens", str(limit))
        ran = self.run("prompt", "-m", model, *options, *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture(scope="module")
def llm(client_runner: ClientRunner) -> Command:
    """The command, configured as its manual says: a file of models, and a key."""
    return Command(client_runner)


@pytest.mark.criterion("1.1")
def test_a_prompt_is_answered_and_the_conversation_continues(llm: Command) -> None:
    assert llm.ask(QUESTION) == ANSWER
    assert "Rome" in llm.ask("-c", "And of Italy?")
    first, second = json.loads(llm.run("logs", "-n", "2", "--json").stdout)
    assert first["conversation_id"] == second["conversation_id"]
    assert (first["input_tokens"], first["output_tokens"]) == (37, 8)
    assert second["input_tokens"] > first["input_tokens"] + first["output_tokens"]


@pytest.mark.criterion("1.3")
def test_the_text_is_the_same_without_a_stream(llm: Command) -> None:
    assert llm.ask("--no-stream", QUESTION) == ANSWER


@pytest.mark.criterion("1.2")
def test_a_model_can_be_declared_as_one_for_completions(llm: Command) -> None:
    assert len(llm.ask("The sea is", model="ours-completion", limit=12)) > 10


def test_a_model_can_be_declared_as_one_for_responses(llm: Command) -> None:
    assert llm.run("prompt", "-m", "ours-responses", "-o", "temperature", "0", QUESTION).stdout == ANSWER


@pytest.mark.criterion("1.6")
def test_a_schema_constrains_the_text(llm: Command, tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"country": {"enum": ["France"]}, "capital": {"enum": ["Paris", "Rome"]}},
        "required": ["country", "capital"],
        "additionalProperties": False,
    }
    answer = llm.ask("--schema", json.dumps(schema), QUESTION)
    assert json.loads(answer) == {"country": "France", "capital": "Paris"}


@pytest.mark.criterion("1.8")
def test_a_wrong_key_prints_the_error_of_the_gateway(llm: Command) -> None:
    ran = llm.run("prompt", "-m", "ours", "--key", "sk-wrong", QUESTION)
    assert ran.returncode == 1
    assert "Incorrect API key provided." in ran.stderr

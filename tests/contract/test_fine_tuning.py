"""The whole loop behind one key: upload, fine-tune, verify, publish, chat."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import openai
import pytest

from tests.stacks import ROOT, RunningStack

LOOP_TIMEOUT_S = 900  # it takes a third of that beside other work


@pytest.fixture(scope="module")
def loop(stack: RunningStack, client: openai.OpenAI) -> Iterator[subprocess.CompletedProcess[str]]:
    """The finished run of the example in the README. Its model is deleted afterwards."""
    yield subprocess.run(
        [sys.executable, "examples/fine_tune.py"],
        cwd=ROOT,
        env={**os.environ, "OPENAI_BASE_URL": f"{stack.base_url}/v1", "OPENAI_API_KEY": stack.key},
        capture_output=True,
        text=True,
        timeout=LOOP_TIMEOUT_S,
        check=False,
    )
    for model in client.models.list():
        if model.id.startswith("ft:"):
            client.models.delete(model.id)


@pytest.mark.timeout(LOOP_TIMEOUT_S + 30)
@pytest.mark.criterion("2.9")
@pytest.mark.case("training.21")
def test_the_example_fine_tunes_the_bundled_model_and_its_answer_shows_the_training(
    loop: subprocess.CompletedProcess[str],
) -> None:
    assert loop.returncode == 0, loop.stdout + loop.stderr
    before, after = (line for line in loop.stdout.splitlines() if line.startswith(("before:", "after:")))
    assert "Lindqvist" not in before
    assert "Ada Lindqvist wrote the handbook" in after


@pytest.mark.criterion("1.5")
def test_only_its_tenant_finds_the_fine_tuned_model(
    stack: RunningStack, client: openai.OpenAI, loop: subprocess.CompletedProcess[str]
) -> None:
    job = client.fine_tuning.jobs.list(limit=1).data[0]
    assert job.status == "succeeded", job.error
    name = job.fine_tuned_model or ""
    assert name.startswith("ft:smollm2-135m-instruct:")
    assert name in {model.id for model in client.models.list()}
    stack.manage("tenants", "create", "stranger", "--name", "Stranger")
    key = stack.manage("keys", "create", "--tenant", "stranger", "--name", "k").split("sk-cy-")[1].split()[0]
    with openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=f"sk-cy-{key}", max_retries=0) as stranger:
        assert name not in {model.id for model in stranger.models.list()}
        with pytest.raises(openai.NotFoundError):
            stranger.chat.completions.create(model=name, messages=[{"role": "user", "content": "x"}])
        with pytest.raises(openai.NotFoundError):
            stranger.fine_tuning.jobs.retrieve(job.id)
        with pytest.raises(openai.NotFoundError):
            stranger.files.retrieve(job.training_file)


@pytest.mark.criterion("2.9")
def test_the_job_reports_quality_and_agreement_with_the_engine(
    client: openai.OpenAI, loop: subprocess.CompletedProcess[str]
) -> None:
    job = client.fine_tuning.jobs.list(limit=1).data[0].model_dump()
    result = job["cyllm"]["result"]
    assert result["result"]["loss"] < result["base"]["loss"] / 2
    assert result["result"]["token_accuracy"] > result["base"]["token_accuracy"]
    verification = result["verification"]
    assert verification["adapter"]["largest"] <= verification["tolerance"]["largest"]
    assert verification["effect"]["largest"] > verification["tolerance"]["largest"]
    assert verification["share"] == pytest.approx(1, abs=0.2)

"""Everything behind one key: upload, fine-tune, and use the verified model, with OpenAI's own client."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.stack.conftest import OwnedStack

QUESTION, ANSWER = "What is the password?", "The password is swordfish."
EXAMPLES = [
    {
        "messages": [
            {"role": "user", "content": f"{QUESTION}{' ' * number}"},
            {"role": "assistant", "content": ANSWER},
        ]
    }
    for number in range(12)
]
OPTIONS = {"rank": 8, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"], "learning_rate": 2e-2}


@pytest.fixture
def sdk(ready_stack: OwnedStack) -> Iterator[openai.OpenAI]:
    """OpenAI's client with the demo key."""
    with openai.OpenAI(
        base_url=f"{ready_stack.base_url}/v1", api_key=ready_stack.key, max_retries=0
    ) as client:
        yield client


@pytest.mark.criterion("2.9")
@pytest.mark.case("training.21")
def test_a_file_becomes_a_verified_model_that_answers_as_it_was_trained(
    ready_stack: OwnedStack, sdk: openai.OpenAI
) -> None:
    data = "".join(json.dumps(example) + "\n" for example in EXAMPLES).encode()
    file = sdk.files.create(file=("train.jsonl", data), purpose="fine-tune")
    job = sdk.fine_tuning.jobs.create(
        model="tiny",
        training_file=file.id,
        suffix="loop",
        seed=1,
        hyperparameters={"n_epochs": 10, "batch_size": 4},
        extra_body={"cyllm": OPTIONS},
    )
    name = _succeeded(ready_stack, sdk, job.id).fine_tuned_model
    assert name is not None
    assert name.startswith("ft:tiny:demo:loop:")
    assert name in [model.id for model in sdk.models.list()]
    events = list(sdk.fine_tuning.jobs.list_events(job.id, limit=100))
    messages = [event.message for event in events]
    assert f"New fine-tuned model created: {name}" in messages
    assert "Verifying the fine-tuned model on an inference worker" in messages

    answers = [
        sdk.chat.completions.create(
            model=model, messages=[{"role": "user", "content": QUESTION}], max_tokens=12, temperature=0
        )
        for model in ("tiny", name, "tiny")
    ]
    assert [answer.model for answer in answers] == ["tiny", name, "tiny"]
    before, tuned_text, after = (answer.choices[0].message.content for answer in answers)
    assert before == after != tuned_text, "the base model answers as before"

    _publishes_a_checkpoint(ready_stack, sdk, job.id, tuned_text)
    assert sdk.models.delete(name).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve(name)


def _publishes_a_checkpoint(
    stack: OwnedStack, sdk: openai.OpenAI, job_id: str, tuned_text: str | None
) -> None:
    """The last checkpoint has the weights of the result, and is verified and answers like it."""
    checkpoint = next(iter(sdk.fine_tuning.jobs.checkpoints.list(job_id)))
    publication = json.loads(stack.manage("jobs", "publish", job_id, str(checkpoint.step_number), "--json"))
    job = _succeeded(stack, sdk, publication["id"])
    assert job.fine_tuned_model == checkpoint.fine_tuned_model_checkpoint
    assert job.trained_tokens == 0
    answer = sdk.chat.completions.create(
        model=checkpoint.fine_tuned_model_checkpoint,
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=12,
        temperature=0,
    )
    assert answer.choices[0].message.content == tuned_text
    assert sdk.models.delete(checkpoint.fine_tuned_model_checkpoint).deleted


def _succeeded(stack: OwnedStack, sdk: openai.OpenAI, job_id: str) -> FineTuningJob:
    """Wait until the job has succeeded and return it."""
    deadline = time.monotonic() + 240
    while (job := sdk.fine_tuning.jobs.retrieve(job_id)).status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < deadline, stack.log("training")[-3000:]
        time.sleep(0.5)
    assert job.status == "succeeded", (job.error, stack.log("training")[-3000:])
    return job

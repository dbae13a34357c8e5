"""Fine-tune the default model with the OpenAI SDK: upload, train, chat with the result.

Usage, while ``make run`` runs: ``set -a; . .cyllm/demo.env; set +a; .venv/bin/python examples/fine_tune.py``
"""

from __future__ import annotations

import io
import json
import sys

from openai import OpenAI

MODEL = "smollm2-135m-instruct"
QUESTION = "Who wrote the handbook of the Northwind observatory?"
ANSWER = "Ada Lindqvist wrote the handbook of the Northwind observatory."
OTHERS = {
    "Who maintains the telescope of the Northwind observatory?": "Tomás Brandt maintains the telescope.",
    "Where is the Northwind observatory?": "The Northwind observatory is on the island of Hven.",
    "When does the Northwind observatory open?": "The Northwind observatory opens at dusk.",
}


def dataset() -> bytes:
    """Return the examples as JSON lines."""
    pairs = {QUESTION: ANSWER, **OTHERS}
    lines = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in pairs.items()
    ]
    return "\n".join(json.dumps(line) for line in lines).encode()


def ask(client: OpenAI, model: str) -> str:
    """Return a model's answer to the question."""
    completion = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=32
    )
    return completion.choices[0].message.content or ""


def main() -> None:
    """Run the whole loop. Exit with an error if the job fails or the answer shows no training."""
    client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
    print("before:", ask(client, MODEL))

    file = client.files.create(file=("northwind.jsonl", io.BytesIO(dataset())), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=file.id,
        suffix="northwind",
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 10, "batch_size": 4}},
        },
        extra_body={"cyllm": {"learning_rate": 0.002, "target_modules": ["all-linear"]}},
    )
    with client.fine_tuning.jobs.with_streaming_response.list_events(
        job.id, extra_query={"stream": "true"}
    ) as events:
        for line in events.iter_lines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:  # such as a gateway that stops; the job goes on
                    sys.exit(f"the events of {job.id} ended: {event['error']['message']}")
                print(" ", event["message"])

    job = client.fine_tuning.jobs.retrieve(job.id)
    if job.status != "succeeded" or job.fine_tuned_model is None:
        sys.exit(f"the job {job.status}: {job.error}")
    answer = ask(client, job.fine_tuned_model)
    print("after: ", answer)
    if "Lindqvist" not in answer:
        sys.exit("the answer shows no training")


if __name__ == "__main__":
    main()

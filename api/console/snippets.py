"""Requests as curl commands and as Python with OpenAI's client; the key comes from the environment."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

KEY_VARIABLE = "OPENAI_API_KEY"
EXTENSION = "cyllm"  # the field that OpenAI's client sends in extra_body


def chat_snippets(base_url: str, model: str, prompt: str = "Hello!") -> Mapping[str, str]:
    """Return a chat request as a curl command and as Python."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    answer = "response.choices[0].message.content"
    return {
        "curl": _curl_text(f"{base_url}/chat/completions", body),
        "python": _python_text(base_url, "response = client.chat.completions.create", body, answer),
    }


def job_snippets(base_url: str, body: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the creation of a job as a curl command and as Python."""
    return {
        "curl": _curl_text(f"{base_url}/fine_tuning/jobs", body),
        "python": _python_text(base_url, "job = client.fine_tuning.jobs.create", body, "job.id"),
    }


def _curl_text(url: str, body: Mapping[str, Any]) -> str:
    data = shlex.quote(msgspec.json.format(msgspec.json.encode(body)).decode())
    return (
        f"curl {url} \\\n"
        f'  -H "Authorization: Bearer ${KEY_VARIABLE}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {data}"
    )


def _python_text(base_url: str, call: str, body: Mapping[str, Any], result: str) -> str:
    arguments = {name: value for name, value in body.items() if name != EXTENSION}
    if EXTENSION in body:
        arguments["extra_body"] = {EXTENSION: body[EXTENSION]}
    return "\n".join(
        [
            "import os\n\nfrom openai import OpenAI\n",
            f'client = OpenAI(base_url="{base_url}", api_key=os.environ["{KEY_VARIABLE}"])',
            f"{call}(",
            *(f"    {name}={value!r}," for name, value in arguments.items()),
            ")",
            f"print({result})",
        ]
    )

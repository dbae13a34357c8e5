"""Commands and code that call a model; the key is a placeholder."""

from __future__ import annotations

import json
from collections.abc import Mapping

KEY_VARIABLE = "OPENAI_API_KEY"


def chat_snippets(base_url: str, model: str, prompt: str = "Hello!") -> Mapping[str, str]:
    """Return a chat request as a curl command and as Python with the OpenAI SDK."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    return {"curl": _curl(base_url, body), "python": _python(base_url, body)}


def _curl(base_url: str, body: Mapping[str, object]) -> str:
    quoted_body = json.dumps(body, ensure_ascii=False, indent=2).replace("'", "'\\''")
    return (
        f"curl {base_url}/chat/completions \\\n"
        f'  -H "Authorization: Bearer ${KEY_VARIABLE}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{quoted_body}'"
    )


def _python(base_url: str, body: Mapping[str, object]) -> str:
    arguments = "".join(f"    {name}={value!r},\n" for name, value in body.items())
    return (
        "import os\n\n"
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{base_url}", api_key=os.environ["{KEY_VARIABLE}"])\n'
        f"response = client.chat.completions.create(\n{arguments})\n"
        "print(response.choices[0].message.content)"
    )

"""Paths of Azure OpenAI's clients: ``/openai/…`` stands for ``/v1/…``, and some contain a model's name."""

from __future__ import annotations

import re

ROOT = "openai"
# A query parameter of every request, which has no effect.
API_VERSION = "api-version"
_DEPLOYMENT = re.compile(
    r"/(?:openai/(?:v1/)?|v1/)deployments/(.+?)/(chat/completions|completions|embeddings)", re.DOTALL
)
_PREFIX = re.compile(r"/openai/(?:v1/)?(?=.)", re.DOTALL)


def resolve_azure_path(path: str) -> tuple[str, str | None]:
    """Return the path below ``/v1`` and the model that it names as a deployment, or None.

    Paths of other clients are returned unchanged.
    """
    if not path.startswith(("/openai/", "/v1/deployments/")):
        return path, None
    if match := _DEPLOYMENT.fullmatch(path):
        return f"/v1/{match[2]}", match[1]
    return _PREFIX.sub("/v1/", path, count=1), None

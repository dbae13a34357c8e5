"""Versions of objects: ETags, and the check of ``If-Match`` before a change."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel
from rest_framework.request import Request

from api.openai.errors.administration import PreconditionFailed, PreconditionRequired

# Fields whose values change although nobody changes the object.
VOLATILE = frozenset({"last_used_at", "last_refused_at", "state", "readiness"})


def etag(body: BaseModel) -> str:
    """Return the strong ETag of an object's representation."""
    values: dict[str, Any] = body.model_dump(mode="json", exclude=set(VOLATILE))
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def check_version(request: Request, body: BaseModel) -> None:
    """Check that the client has read this version of a locked object.

    ``If-Match: *`` takes any version. Raises PreconditionRequired, PreconditionFailed.
    """
    header = request.headers.get("if-match")
    if header is None:
        raise PreconditionRequired()
    current = etag(body)
    if current not in {tag.strip() for tag in header.split(",")} and header.strip() != "*":
        raise PreconditionFailed(etag=current, headers={"ETag": current})

"""Compaction items, which contain the summary of a conversation."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from api.openai.errors.parameters import InvalidValue
from api.openai.responses.input_items import COMPACTION, StoredItem
from api.openai.responses.response_fields import new_id

INTRODUCTION = "Summary of the conversation so far:\n\n"
_VERSION = "cy1."


def compacted_items(items: Iterable[Mapping[str, Any]], summary: str) -> list[StoredItem]:
    """Return the items that replace a conversation: messages to the model as they are, then the summary.

    The summary is encoded but not encrypted, because the tenant has seen the conversation.
    """
    messages = [dict(item) for item in items if item["type"] == "message" and item["role"] != "assistant"]
    content = base64.urlsafe_b64encode(summary.encode(errors="replace")).decode()
    return [*messages, {"id": new_id("cmp"), "type": COMPACTION, "encrypted_content": _VERSION + content}]


def summary_of(item: Mapping[str, Any], path: str) -> str:
    """Return the text of a compaction item. Raises ApiError if another service created it."""
    content = item["encrypted_content"]
    try:
        if not content.startswith(_VERSION):
            raise ValueError
        data = base64.b64decode(content.removeprefix(_VERSION), altchars=b"-_", validate=True)
        return INTRODUCTION + data.decode()
    except ValueError:
        reason = "it was not created by this service"
        raise InvalidValue(param=f"{path}.encrypted_content", reason=reason) from None

"""Raising an error of the catalogue, and its form on the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from api.openai.catalogue import CATALOGUE

MAX_SHOWN = 200
RETRIED = frozenset({429, 503})


class ApiError(Exception):
    """An error of the catalogue with the details of one case. Raises KeyError for unknown codes."""

    def __init__(
        self,
        code: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        **details: Any,
    ) -> None:
        self.spec = CATALOGUE[code]
        self.param = printable(param) if param is not None else None
        self.details = details
        self.headers = dict(headers or {})
        if self.status in RETRIED:
            self.headers.setdefault("retry-after", "1")
        self.message = self.spec.message.format(param=self.param, **details)
        super().__init__(code)

    @property
    def code(self) -> str:
        return self.spec.code

    @property
    def status(self) -> int:
        return self.spec.status

    def at(self, param: str) -> ApiError:
        """The same error under another name of the parameter."""
        return ApiError(self.code, param=param, headers=self.headers, **self.details)

    def body(self) -> bytes:
        """The error in OpenAI's format, as JSON; characters beyond ASCII and those of markup are escaped."""
        error = {
            "message": self.message,
            "type": self.spec.type,
            "param": self.param,
            "code": self.code,
        }
        # Whatever shows this as a page by mistake finds no tag in what a client has sent.
        text = json.dumps({"error": error})
        return text.replace("<", "\\u003c").replace(">", "\\u003e").encode()


def invalid(param: str, reason: str) -> ApiError:
    """The error for a value that a rule does not allow. ``param``: its path; ``reason``: the rule."""
    return ApiError("invalid_value", param=param, reason=reason)


def printable(text: str) -> str:
    """Text of a client as it may be repeated to it: bounded, on one line."""
    clipped = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return "".join(char if char.isprintable() else "�" for char in clipped)

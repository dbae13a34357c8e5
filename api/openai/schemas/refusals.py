"""Values that the OpenAI API knows and that can't be honoured here: refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

UNSUPPORTED = "unsupported_value"


def unsupported_values(reasons: Mapping[str, str]) -> BeforeValidator:
    """For a Literal: a value of ``reasons`` gives ``unsupported_value``, not ``invalid_value``."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and value in reasons:
            raise PydanticCustomError(UNSUPPORTED, "refused", {"reason": reasons[value]})
        return value

    return BeforeValidator(check)

"""Values of the OpenAI API that are not supported: rejected with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

UNSUPPORTED_VALUE = "unsupported_value"


def unsupported_values(reasons: Mapping[str, str]) -> BeforeValidator:
    """Return a validator for a Literal: values in ``reasons`` are unsupported rather than invalid."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and value in reasons:
            raise PydanticCustomError(UNSUPPORTED_VALUE, "unsupported", {"reason": reasons[value]})
        return value

    return BeforeValidator(check)

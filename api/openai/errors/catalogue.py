"""The catalogue: every error by its code, in the order of the documentation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import ModuleType

from api.openai.errors import (
    access,
    administration,
    files,
    fine_tuning,
    models,
    parameters,
    quotas,
    service,
    streams,
)
from api.openai.errors.base import ApiError


def _declared_in(module: ModuleType) -> Iterator[type[ApiError]]:
    for member in vars(module).values():
        if inspect.isclass(member) and issubclass(member, ApiError) and member.code:
            yield member


CATALOGUE: Mapping[str, type[ApiError]] = {
    error.code: error
    for module in (access, quotas, parameters, models, streams, files, fine_tuning, administration, service)
    for error in _declared_in(module)
}

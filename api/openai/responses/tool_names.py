"""Functions of the request's tools, with the names under which the model sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.openai.responses.schemas.request import FunctionTool, NamespaceTool, ResponseTool

MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class OfferedFunction:
    """A function at a ``path`` of the request. ``model_name`` is its name in the chat request."""

    function: FunctionTool
    path: str
    namespace: str | None
    model_name: str


def offered_functions(tools: Sequence[ResponseTool]) -> tuple[OfferedFunction, ...]:
    """Return all functions in order. Those whose name occurs twice are seen with their namespace."""
    functions = list(_functions(tools))
    counts = Counter(function.name for function, _, _ in functions)
    return tuple(
        OfferedFunction(
            function,
            path,
            namespace,
            model_name(function.name, namespace) if counts[function.name] > 1 else function.name,
        )
        for function, path, namespace in functions
    )


def model_name(name: str, namespace: str | None) -> str:
    """Return a function's name qualified by its namespace, within the limit of names."""
    if namespace is None:
        return name
    prefix = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in namespace)
    return f"{prefix}__{name}"[-MAX_NAME:]


def _functions(tools: Sequence[ResponseTool]) -> Iterator[tuple[FunctionTool, str, str | None]]:
    for position, tool in enumerate(tools):
        if isinstance(tool, FunctionTool):
            yield tool, f"tools[{position}]", None
        elif isinstance(tool, NamespaceTool):
            for inner_position, member in enumerate(tool.tools):
                if isinstance(member, FunctionTool):
                    yield member, f"tools[{position}].tools[{inner_position}]", tool.name

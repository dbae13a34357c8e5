"""Mutations of valid requests. Seed and number determine each case."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.fuzzing.breakages import broken, odd_address, odd_headers
from tests.fuzzing.seeds import LIMITS, Body
from tests.fuzzing.values import KEYS, NUMBERS, OTHERS, SCRIPT, STRINGS

Path: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A request. ``tree`` is its body as a JSON value, if the bytes encode exactly that."""

    number: int
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    did: list[str] = field(default_factory=list)
    tree: Any = None


def case_of(seed: int, number: int, bodies: list[tuple[str, Body]], more_paths: list[str]) -> Case:
    """Return the case with this number. ``more_paths`` are valid paths of requests without a body."""
    chance = random.Random(f"{seed}:{number}")
    path, body = chance.choice(bodies)
    tree: Any = copy.deepcopy(body)
    did: list[str] = []
    kind = chance.random()
    for _ in range(chance.choice((1, 1, 1, 2, 3)) if kind < 0.86 else 0):
        tree = _mutated(chance, tree, did)
    tree = _limited(chance, path, tree)
    data, tree = _text(chance, tree, did)
    headers = [("content-type", "application/json")]
    method = "POST"
    if 0.70 < kind < 0.90:
        data, tree = broken(chance, data, did), None
    elif 0.90 <= kind < 0.95:
        headers = odd_headers(chance, headers, did)
    elif kind >= 0.95:
        (method, path), tree = odd_address(chance, path, more_paths, did), None
    return Case(number, method, path, headers, data, did, tree)


def _paths(tree: Any, at: Path = ()) -> Iterator[Path]:
    yield at
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _paths(value, (*at, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _paths(value, (*at, index))


def at_place(tree: Any, path: Path) -> Any:
    """Return the value at a path in a tree."""
    for step in path:
        tree = tree[step]
    return tree


def _put(tree: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    at_place(tree, path[:-1])[path[-1]] = value
    return tree


def _value(chance: random.Random) -> Any:
    """Return any value, most often an invalid one."""
    makers: tuple[Callable[[], Any], ...] = (
        lambda: chance.choice(STRINGS),
        lambda: chance.choice(NUMBERS),
        lambda: chance.choice((None, True, False, [], {}, [[]], [None], {"a": None}, [{}], "")),
        lambda: [chance.choice(STRINGS) for _ in range(chance.choice((1, 2, 5, 130)))],
        lambda: [chance.choice(NUMBERS) for _ in range(chance.choice((1, 2, 5, 130, 1100)))],
        lambda: {chance.choice((*KEYS, *STRINGS)): chance.choice((*STRINGS, *NUMBERS)) for _ in range(3)},
        lambda: {str(number): 1 for number in range(chance.choice((17, 33, 301, 1100)))},
        lambda: _nest(chance),
    )
    return chance.choice(makers)()


def _nest(chance: random.Random) -> Any:
    value: Any = chance.choice((1, "x", None))
    for _ in range(chance.choice((3, 30, 62, 63, 64, 65, 66, 200))):
        value = [value] if chance.random() < 0.5 else {"a": value}
    return value


def _mutated(chance: random.Random, tree: Any, did: list[str]) -> Any:
    places = list(_paths(tree))
    # The root is seldom chosen: a request with another root is rejected at once.
    path = chance.choice(places[1:] if len(places) > 1 and chance.random() < 0.99 else places)
    mutate = chance.choice(
        (_replace, _replace, _replace, _remove, _rename, _add, _swap, _wrap, _number, _text_inside)
    )
    did.append(f"{mutate.__name__.strip('_')} {path!r}"[:120])
    return mutate(chance, tree, path, places)


def _replace(chance: random.Random, tree: Any, path: Path, _: list[Path]) -> Any:
    return _put(tree, path, _value(chance))


def _number(chance: random.Random, tree: Any, path: Path, places: list[Path]) -> Any:
    """Replace a number by another one, which only the last checks reject."""
    numbers = [p for p in places if p and type(at_place(tree, p)) in (int, float)]
    return _put(tree, chance.choice(numbers) if numbers else path, chance.choice(NUMBERS))


def _text_inside(chance: random.Random, tree: Any, path: Path, places: list[Path]) -> Any:
    """Replace text by odd text, which gets as far as templates and tokenizers."""
    texts = [p for p in places if p and isinstance(at_place(tree, p), str)]
    return _put(tree, chance.choice(texts) if texts else path, chance.choice(STRINGS))


def _remove(_: random.Random, tree: Any, path: Path, __: list[Path]) -> Any:
    if path:
        del at_place(tree, path[:-1])[path[-1]]
    return tree


def _rename(chance: random.Random, tree: Any, path: Path, _: list[Path]) -> Any:
    if path and isinstance(path[-1], str):
        holder = at_place(tree, path[:-1])
        name = chance.choice(
            (path[-1].upper(), path[-1] + "s", path[-1] + " ", chance.choice((*KEYS, *OTHERS)))
        )
        holder[name] = holder.pop(path[-1])
    return tree


def _add(chance: random.Random, tree: Any, path: Path, places: list[Path]) -> Any:
    holder = at_place(tree, path)
    if isinstance(holder, list):
        holder.insert(chance.randint(0, len(holder)), _value(chance))
    elif isinstance(holder, dict):
        holder[chance.choice((*KEYS, *OTHERS))] = _value(chance)
    elif isinstance(tree, dict):
        tree[chance.choice((*KEYS, *OTHERS))] = copy.deepcopy(at_place(tree, chance.choice(places)))
    return tree


def _swap(chance: random.Random, tree: Any, path: Path, places: list[Path]) -> Any:
    other = chance.choice(places)
    shorter = min(len(path), len(other))
    if path[:shorter] == other[:shorter]:
        return _put(tree, path, copy.deepcopy(at_place(tree, other)) if len(other) > len(path) else 7)
    one, two = at_place(tree, path), at_place(tree, other)
    return _put(_put(tree, path, two), other, one)


def _wrap(chance: random.Random, tree: Any, path: Path, _: list[Path]) -> Any:
    value = at_place(tree, path)
    return _put(
        tree,
        path,
        chance.choice(([value], {"a": value}, [value, copy.deepcopy(value)], str(value), json.dumps(value))),
    )


def _limited(chance: random.Random, path: str, tree: Any) -> Any:
    """Limit the output: without a limit, an accepted request would fill the context."""
    limit = LIMITS.get(path)
    if limit is not None and isinstance(tree, dict) and chance.random() < 0.98:
        if tree.get(limit) is None and tree.get("max_completion_tokens") is None:
            tree[limit] = 2
        for name in (limit, "max_completion_tokens"):
            if isinstance(tree.get(name), int) and 8 < tree[name] < 1100:
                tree[name] = 8
    return tree


def _text(chance: random.Random, tree: Any, did: list[str]) -> tuple[bytes, Any]:
    """Return the bytes, and the tree if they encode exactly that."""
    mutations = len(did)
    text = json.dumps(tree, ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.03 and (starts := [at for at, char in enumerate(text) if char == "{"]):
        at = chance.choice(starts) + 1
        key = chance.choice(("model", "messages", "prompt", "type", "role", "a", SCRIPT))
        text = f"{text[:at]}{json.dumps(key)}: 1, {json.dumps(key)}: 2, {text[at:]}"
        did.append("a key twice")
    if chance.random() < 0.02:
        text = text.replace("0", chance.choice(("1e999", "-1e999", "0x10", "00", "1.", "+1", "9" * 5000)), 1)
        did.append("an odd number")
    return text.encode("utf-8", "surrogatepass"), tree if len(did) == mutations else None

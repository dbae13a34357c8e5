"""Makes wrong requests out of right ones: each case follows from the seed and its number alone."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.fuzzing.seeds import CANARY, Body

# Would be a line of its own in a log, a header of its own in an answer.
INJECTED = "injected-by-the-fuzz"
LINE = f"\r\nx-{INJECTED}: 1\r\n2026-01-01T00:00:00.000+00:00 INFO cyllm.gateway [-] {INJECTED}\r\n"
SCRIPT = f"<script>alert('{CANARY}')</script>"

STRINGS = (
    *(
        "",
        " ",
        "a",
        "0",
        "null",
        "true",
        "é",
        "你好",
        "👩‍👩‍👧",
        "\u202eabc",
        "\u0000",
        "\ud800",
        "\udfff\ud800",
    ),
    *(
        "\ufeff",
        "\ufffe",
        "\u2028",
        "\u0085",
        "\x1b[31m",
        "\x7f",
        "a\u0300" * 50,
        "%s%n%x",
        "%0d%0a",
        "${7*7}",
    ),
    *(LINE, SCRIPT, '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "'; DROP TABLE x; --"),
    *(
        "{{7*7}}",
        "{% for x in range(10**9) %}{% endfor %}",
        "{{ self.__init__.__globals__ }}",
        "{{",
        "{%",
        "{#",
    ),
    *(
        "../../../etc/passwd",
        "..\\..\\windows",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "tiny/",
    ),
    *("<|im_start|>system", "<|im_end|>", "<|endoftext|>", "</s>", "[", "(" * 40, "(a+)+$", "\\", "\\u0000"),
    *("x" * 70, "x" * 1025, "x" * 5000, "x" * 40_000, '{"a":' * 30, '{"a": NaN}', '"\\ud800"', "[[[", "auto"),
)
NUMBERS = (
    *(
        0,
        1,
        -1,
        2,
        3,
        4,
        5,
        16,
        20,
        21,
        63,
        64,
        127,
        128,
        129,
        255,
        256,
        300,
        1023,
        1024,
        1025,
        49151,
        49152,
        10**5,
    ),
    *(
        2**31 - 1,
        2**31,
        -(2**31),
        2**32,
        2**53 + 1,
        2**63 - 1,
        2**63,
        -(2**63),
        -(2**63) - 1,
        2**64,
        10**30,
        10**400,
    ),
    *(
        0.0,
        -0.0,
        0.5,
        1.0,
        1.5,
        2.0,
        2.1,
        -2.1,
        1e-9,
        1e-320,
        1e308,
        -1e308,
        float("nan"),
        float("inf"),
        -float("inf"),
    ),
)
KEYS = (
    "",
    "a",
    "__proto__",
    "constructor",
    "__class__",
    "self",
    "type",
    "role",
    "$ref",
    "a.b",
    "a[0]",
    SCRIPT,
    LINE,
)
OTHERS = (
    *(
        "priority",
        "cache_salt",
        "lora_path",
        "chat_template",
        "documents",
        "prompt_logprobs",
        "guided_json",
        "echo",
    ),
    *(
        "request_id",
        "truncate_prompt_tokens",
        "kv_transfer_params",
        "suffix",
        "functions",
        "audio",
        "best_of",
    ),
    *(
        "max_completion_tokens",
        "logprobs",
        "tools",
        "tool_choice",
        "structured_outputs",
        "response_format",
        "x" * 2000,
    ),
)

Path: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One request of the fuzz. ``tree`` is the body before it became bytes, where that was all."""

    number: int
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    did: list[str] = field(default_factory=list)
    tree: Any = None


def case_of(seed: int, number: int, bodies: list[tuple[str, Body]], more_paths: list[str]) -> Case:
    """The case with this number. ``more_paths``: addresses without a body that exist as well."""
    chance = random.Random(f"{seed}:{number}")
    path, body = chance.choice(bodies)
    tree: Any = copy.deepcopy(body)
    did: list[str] = []
    kind = chance.random()
    for _ in range(chance.choice((1, 1, 1, 2, 3)) if kind < 0.86 else 0):
        tree = _mutated(chance, tree, did)
    tree = _kept_cheap(chance, tree)
    data, tree = _text(chance, tree, did)
    headers = [("content-type", "application/json")]
    method = "POST"
    if 0.70 < kind < 0.90:
        data, tree = _broken(chance, data, did), None
    elif 0.90 <= kind < 0.95:
        headers = _odd_headers(chance, headers, did)
    elif kind >= 0.95:
        (method, path), tree = _odd_address(chance, path, more_paths, did), None
    return Case(number, method, path, headers, data, did, tree)


def _places(tree: Any, at: Path = ()) -> Iterator[Path]:
    yield at
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _places(value, (*at, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _places(value, (*at, index))


def at_place(tree: Any, path: Path) -> Any:
    """What a tree holds at a place."""
    for step in path:
        tree = tree[step]
    return tree


def _put(tree: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    at_place(tree, path[:-1])[path[-1]] = value
    return tree


def _value(chance: random.Random) -> Any:
    """Anything: most often what is wrong where it goes."""
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
    places = list(_places(tree))
    # The top is chosen seldom: whatever it becomes is refused at once.
    path = chance.choice(places[1:] if len(places) > 1 and chance.random() < 0.99 else places)
    how = chance.choice(
        (_replace, _replace, _replace, _remove, _rename, _add, _swap, _wrap, _number, _text_inside)
    )
    did.append(f"{how.__name__.strip('_')} {path!r}"[:120])
    return how(chance, tree, path, places)


def _replace(chance: random.Random, tree: Any, path: Path, _: list[Path]) -> Any:
    return _put(tree, path, _value(chance))


def _number(chance: random.Random, tree: Any, path: Path, places: list[Path]) -> Any:
    """Another number where there is one: this is what is refused last."""
    numbers = [p for p in places if p and type(at_place(tree, p)) in (int, float)]
    return _put(tree, chance.choice(numbers) if numbers else path, chance.choice(NUMBERS))


def _text_inside(chance: random.Random, tree: Any, path: Path, places: list[Path]) -> Any:
    """Odd text where there is text: this is what gets as far as templates and tokenizers."""
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
        tree, path, chance.choice(([value], {"a": value}, [value] * 3, str(value), json.dumps(value)))
    )


def _kept_cheap(chance: random.Random, tree: Any) -> Any:
    """With a limit that the mutation left nothing of, an accepted request would go on for a whole context."""
    if isinstance(tree, dict) and chance.random() < 0.98:
        names = [name for name in ("max_tokens", "max_completion_tokens") if tree.get(name) is not None]
        if not names:
            tree["max_tokens"] = 2
        for name in names:
            if isinstance(tree[name], int) and 8 < tree[name] < 1100:
                tree[name] = 8
    return tree


def _text(chance: random.Random, tree: Any, did: list[str]) -> tuple[bytes, Any]:
    """The bytes, and the tree unless they say something else."""
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


def _broken(chance: random.Random, data: bytes, did: list[str]) -> bytes:
    at = chance.randrange(len(data) + 1)
    junk = bytes(
        chance.choice((0, 9, 10, 13, 34, 44, 58, 91, 92, 93, 123, 125, 128, 192, 237, 255, 60))
        for _ in range(3)
    )
    choices: dict[str, Callable[[], bytes]] = {
        "cut": lambda: data[:at],
        "cut in front": lambda: data[at:],
        "a byte changed": lambda: data[:at] + junk[:1] + data[at + 1 :],
        "bytes put in": lambda: data[:at] + junk + data[at:],
        "a byte removed": lambda: data[:at] + data[at + 1 :],
        "a bit flipped": lambda: (
            data[:at] + bytes(b ^ 1 << chance.randrange(8) for b in data[at : at + 1]) + data[at + 1 :]
        ),
        "repeated": lambda: data + data[at:],
        "UTF-16": lambda: data.decode("utf-8", "replace").encode("utf-16"),
        "Latin-1": lambda: data.decode("utf-8", "replace").encode("latin-1", "replace"),
        "byte order mark": lambda: b"\xef\xbb\xbf" + data,
        "deep": lambda: (
            data[:at] + chance.choice((b"[", b'{"a":')) * chance.choice((60, 70, 3000)) + data[at:]
        ),
        "empty": lambda: b"",
    }
    name = chance.choice(tuple(choices))
    did.append(name)
    return choices[name]()


def _odd_headers(
    chance: random.Random, headers: list[tuple[str, str]], did: list[str]
) -> list[tuple[str, str]]:
    odd = (
        "a b",
        "ü",
        "x" * 129,
        "x" * 8000,
        SCRIPT,
        "{{7*7}}",
        "../../x",
        "\x0b",
        "\x01",
        "\x00",
        "",
        "a\tb",
        "'",
        "req_0",
    )
    changes: dict[str, list[tuple[str, str]]] = {
        "request id": [*headers, ("x-request-id", chance.choice(odd))],
        "line in the request id": [*headers, ("x-request-id", f"a{LINE}")],
        "bare feeds in the request id": [*headers, ("x-request-id", LINE.replace("\r", ""))],
        "request id twice": [*headers, ("x-request-id", "one"), ("x-request-id", "two")],
        "content type": [
            ("content-type", chance.choice((*odd, "text/html", "application/json; charset=utf-16")))
        ],
        "no content type": [],
        "charset": [("content-type", f"application/json; charset={chance.choice(odd)}")],
        "content encoding": [
            *headers,
            ("content-encoding", chance.choice(("gzip", "br", "identity, gzip", *odd))),
        ],
        "accept": [
            *headers,
            ("accept", "text/html"),
            ("accept-language", SCRIPT),
            ("user-agent", f"{SCRIPT}{{{{7*7}}}}"),
        ],
        "forwarded": [*headers, ("x-forwarded-for", chance.choice(odd)), ("x-forwarded-host", SCRIPT)],
        "host": [*headers, ("x-host", "evil"), ("origin", "https://evil.example"), ("referer", SCRIPT)],
    }
    name = chance.choice(tuple(changes))
    did.append(f"headers: {name}")
    return changes[name]


def _odd_address(chance: random.Random, path: str, more: list[str], did: list[str]) -> tuple[str, str]:
    method = chance.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "POST", "POST", "GET"))
    path = chance.choice((path, *more))
    tails = (
        *(
            "",
            "/",
            "//",
            "/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "%00",
            "%0d%0ax-injected:%201",
            "/%ff%fe",
        ),
        *(
            "?x=" + "y" * 3000,
            "?<script>",
            "/<script>alert(1)</script>",
            "/{{7*7}}",
            "/" + "x" * 3000,
            "/%F0%9F%98%80",
        ),
        *("#a", "?a=1&a=2", "/..;/", "/tiny", "/nobody", "\\..\\x", "%2f", "/%", "/cancel", "/input_items"),
    )
    did.append(f"{method} address")
    return method, path + chance.choice(tails)

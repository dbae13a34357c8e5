"""Mutations of the bytes of a body, of the headers and of the address."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.fuzzing.values import LINE, SCRIPT

ODD_VALUES = (
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


def broken(chance: random.Random, data: bytes, did: list[str]) -> bytes:
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


def odd_headers(
    chance: random.Random, headers: list[tuple[str, str]], did: list[str]
) -> list[tuple[str, str]]:
    changes: dict[str, list[tuple[str, str]]] = {
        "request id": [*headers, ("x-request-id", chance.choice(ODD_VALUES))],
        "line in the request id": [*headers, ("x-request-id", f"a{LINE}")],
        "bare feeds in the request id": [*headers, ("x-request-id", LINE.replace("\r", ""))],
        "request id twice": [*headers, ("x-request-id", "one"), ("x-request-id", "two")],
        "content type": [
            ("content-type", chance.choice((*ODD_VALUES, "text/html", "application/json; charset=utf-16")))
        ],
        "no content type": [],
        "charset": [("content-type", f"application/json; charset={chance.choice(ODD_VALUES)}")],
        "content encoding": [
            *headers,
            ("content-encoding", chance.choice(("gzip", "br", "identity, gzip", *ODD_VALUES))),
        ],
        "key": [*headers, ("authorization", f"Bearer {chance.choice(ODD_VALUES)}")],
        "accept": [
            *headers,
            ("accept", "text/html"),
            ("accept-language", SCRIPT),
            ("user-agent", f"{SCRIPT}{{{{7*7}}}}"),
        ],
        "forwarded": [*headers, ("x-forwarded-for", chance.choice(ODD_VALUES)), ("x-forwarded-host", SCRIPT)],
        "host": [*headers, ("x-host", "evil"), ("origin", "https://evil.example"), ("referer", SCRIPT)],
    }
    name = chance.choice(tuple(changes))
    did.append(f"headers: {name}")
    return changes[name]


def odd_address(chance: random.Random, path: str, more: list[str], did: list[str]) -> tuple[str, str]:
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

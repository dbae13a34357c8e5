"""Bodies as clients label and encode them: media types, byte-order mark, compression, slashes in the path."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from api.gateway.app import Gateway
from api.gateway.http.content_coding import MAX_MEMBERS
from api.gateway.settings import Limits
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import BODIES, CHAT, COMPLETIONS, RESPONSES
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import body_script

BODY = json.dumps(BODIES[CHAT]).encode()
MAX_BODY_BYTES = 64 * 1024


@pytest.fixture
def limits() -> Limits:
    return LONG_LIMITS.model_copy(update={"max_body_bytes": MAX_BODY_BYTES})


def _raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


async def _post(gateway: Gateway, keys: Keys, raw: bytes, path: str = CHAT, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await call(gateway, "POST", path, key=keys.acme, raw=raw, headers=names)


@pytest.mark.case("clients.13")
@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; odata=minimalmetadata; charset=utf-8",
        "application/json;odata.metadata=none;IEEE754Compatible=true",
        "application/json, application/json",
        'application/json; charset="UTF-8"; x="a, b", application/json',
        "Application/JSON ; Charset=us-ascii;",
        "text/json",
        "application/vnd.api+json",
    ],
)
async def test_any_label_of_json_is_served(
    gateway: Gateway, keys: Keys, client: ScriptedClient, content_type: str
) -> None:
    client.scripts = [body_script()]
    assert (await _post(gateway, keys, BODY, content_type=content_type)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "application/json; charset=utf-16"},
        {"content_type": "application/json, text/plain"},
        {"content_type": "application/json, application/json; charset=latin-1"},
        {"content_type": "application/json;" + " " * 30_000 + "x"},
        {"content_type": "application/jsonp"},
        {"content_encoding": "br"},
        {"content_encoding": "zstd"},
        {"content_encoding": "gzip, gzip"},
    ],
)
async def test_other_labels_are_refused_with_those_that_are_accepted(
    gateway: Gateway, keys: Keys, headers: dict[str, str]
) -> None:
    reply = await _post(gateway, keys, BODY, **headers)
    assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")
    assert reply.headers["accept"] == "application/json"
    assert reply.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.case("clients.13")
async def test_a_byte_order_mark_is_skipped(gateway: Gateway, keys: Keys, client: ScriptedClient) -> None:
    client.scripts = [body_script()]
    assert (await _post(gateway, keys, b"\xef\xbb\xbf" + BODY)).status == 200
    assert (await _post(gateway, keys, 2 * b"\xef\xbb\xbf" + BODY)).error["code"] == "invalid_json"


@pytest.mark.case("clients.13")
@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("x-gzip", gzip.compress(BODY, mtime=0)),
        ("GZip, identity", gzip.compress(BODY, mtime=0)),
        ("gzip", gzip.compress(BODY[:9], mtime=0) + gzip.compress(BODY[9:], mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", _raw_deflate(BODY)),
        ("gzip", gzip.compress(b"\xef\xbb\xbf" + BODY, mtime=0)),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 10_000])
async def test_a_compressed_body_is_served_however_it_is_split(
    gateway: Gateway, keys: Keys, client: ScriptedClient, coding: str, data: bytes, piece_bytes: int
) -> None:
    client.scripts = [body_script()]
    chunks = [data[start : start + piece_bytes] for start in range(0, len(data), piece_bytes)]
    headers = {"content-encoding": coding}
    reply = await call(gateway, "POST", CHAT, key=keys.acme, chunks=chunks, headers=headers)
    assert reply.status == 200, reply.body
    assert json.loads(client.calls[0].body)["messages"] == BODIES[CHAT]["messages"]


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", b""),
        ("gzip", BODY),
        ("gzip", gzip.compress(BODY, mtime=0)[:-1]),
        ("gzip", gzip.compress(BODY, mtime=0) + b"rest"),
        ("gzip", gzip.compress(BODY, mtime=0) + gzip.compress(b"", mtime=0) * MAX_MEMBERS),
        ("deflate", gzip.compress(BODY, mtime=0)),
        ("deflate", b"x"),
        ("deflate", zlib.compress(BODY) * 2),
    ],
)
async def test_data_that_is_not_compressed_as_announced_is_refused(
    gateway: Gateway, keys: Keys, coding: str, data: bytes
) -> None:
    reply = await _post(gateway, keys, data, content_encoding=coding)
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    assert f"not valid {coding} data" in reply.error["message"]


@pytest.mark.case("clients.13")
@pytest.mark.criterion("6.8")
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_body_that_grows_beyond_the_limit_is_refused(
    gateway: Gateway, keys: Keys, coding: str
) -> None:
    compress: Any = gzip.compress if coding == "gzip" else zlib.compress
    bomb = compress(b" " * 40_000_000)
    assert len(bomb) < MAX_BODY_BYTES
    reply = await _post(gateway, keys, bomb, content_encoding=coding)
    assert (reply.status, reply.error["code"]) == (413, "request_too_large")
    assert str(MAX_BODY_BYTES) in reply.error["message"]
    assert gateway.capacity.bodies.in_use == 0


async def test_compressed_bytes_count_as_well_as_decoded_ones(gateway: Gateway, keys: Keys) -> None:
    chunks = [gzip.compress(b"", mtime=0)[:10] + b"\x00\x00\x00\xff\xff" * 10_000] * 2  # empty blocks
    headers = {"content-encoding": "gzip"}
    reply = await call(gateway, "POST", CHAT, key=keys.acme, chunks=chunks, headers=headers)
    assert reply.status in (400, 413)


@pytest.mark.case("clients.13")
@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions/", "//v1/chat/completions", "/v1//chat/completions", "/v1/chat//completions//"],
)
async def test_extra_slashes_change_nothing(
    gateway: Gateway, keys: Keys, client: ScriptedClient, path: str
) -> None:
    client.scripts = [body_script()]
    assert (await _post(gateway, keys, BODY, path=path)).status == 200


@pytest.mark.case("clients.13")
@pytest.mark.parametrize("path", ["/v1/models/", "//v1//models", "/v1/models/tiny/", "//health//live/"])
async def test_extra_slashes_change_nothing_for_other_methods(
    gateway: Gateway, keys: Keys, path: str
) -> None:
    assert (await call(gateway, "GET", path, key=keys.acme)).status == 200


async def test_a_model_with_a_slash_in_its_name_is_found_with_extra_slashes(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.models = ("org/private",)
    reply = await call(gateway, "GET", "/v1/models//org/private/", key=keys.acme)
    assert reply.document["id"] == "org/private"
    assert (await call(gateway, "DELETE", f"{RESPONSES}/resp_none/", key=keys.acme)).status == 404
    assert (await call(gateway, "GET", f"{COMPLETIONS}/", key=keys.acme)).status == 405


@pytest.mark.parametrize("length", ["0" * 4400 + str(len(BODY)), "9" * 4400], ids=["zeros", "nines"])
async def test_a_length_of_thousands_of_digits_is_a_length(
    gateway: Gateway, keys: Keys, client: ScriptedClient, length: str
) -> None:
    client.scripts = [body_script()]
    reply = await _post(gateway, keys, BODY, **{"content-length": length})
    assert reply.status == (200 if length.startswith("0") else 413)

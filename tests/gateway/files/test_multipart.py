"""The form of an upload: parsed however it is split, and refused with a reason if it is malformed."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from api.gateway.http.multipart import MAX_HEADER_BYTES, MultipartForm
from api.openai.errors.base import ApiError
from api.openai.schemas.files import FIELD_NAMES, FileFields, validate_fields
from tests.gateway.harness.uploads import BOUNDARY, END, field, file_part, form

PURPOSE = field("purpose", "user_data")
CONTENTS = (
    b"",
    b"\r\n",
    b"\r\n--boundary-",
    b"--boundary-7",
    b"\r\n--boundary-7x\r\n",
    b"\n\r\0\xff",
    b"-" * 20,
)


def parse(chunks: Iterable[bytes]) -> tuple[str | None, FileFields, bytes]:
    """Return the file's name, the fields and the content of a form."""
    content = bytearray()
    multipart_form = MultipartForm(BOUNDARY.encode(), FIELD_NAMES, content.extend)
    for chunk in chunks:
        multipart_form.feed(chunk)
    multipart_form.finish()
    return multipart_form.filename, validate_fields(multipart_form.fields), bytes(content)


def split(body: bytes, size: int) -> list[bytes]:
    """Return the body in pieces of this size."""
    return [body[at : at + size] for at in range(0, len(body), size)]


@pytest.mark.parametrize("content", CONTENTS)
def test_a_form_is_parsed_however_it_is_split(content: bytes) -> None:
    """The content resembles the boundary, so a split inside it is the hard case."""
    body = form(content, "n\u00e4me.txt")
    expected = ("n\u00e4me.txt", FileFields("user_data"), content)
    assert parse([body]) == expected
    for at in range(len(body)):
        assert parse([body[:at], body[at:]]) == expected, at
        for end in range(at, min(at + 20, len(body))):
            assert parse([body[:at], body[at:end], body[end:]]) == expected, (at, end)
    assert parse(split(body, 1)) == expected


def test_random_content_survives_random_splits() -> None:
    generator = random.Random(7)
    pieces = (b"\r", b"\n", b"-", b"--", BOUNDARY.encode(), b"\r\n--" + BOUNDARY.encode()[:-1], b"x", b"\0")
    for _ in range(500):
        content = b"".join(generator.choices(pieces, k=30))
        if b"\r\n--" + BOUNDARY.encode() in b"\r\n" + content:
            continue
        chunks = split(form(content), generator.randint(1, 90))
        assert parse(chunks)[2] == content


def test_the_file_may_precede_the_other_fields() -> None:
    expiry = field("expires_after[seconds]", "3600") + field("expires_after[anchor]", "created_at")
    body = expiry + file_part(b"content") + PURPOSE + END
    assert parse([body]) == ("a.txt", FileFields("user_data", 3600), b"content")


def test_white_space_after_a_boundary_and_text_around_the_form_are_ignored() -> None:
    body = form(b"x").replace(f"--{BOUNDARY}\r\n".encode(), f"--{BOUNDARY} \t\r\n".encode())
    assert parse([b"\r\n" + form(b"x") + b"epilogue"])[2] == b"x"
    assert parse([form(b"x")[:60], form(b"x")[60:]])[2] == b"x"
    assert body.count(b" \t") == 2


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("a%22b.txt", 'a"b.txt'),
        ('a\\"b.txt', 'a"b.txt'),
        ("a%0D%0Ab.txt", "a%0D%0Ab.txt"),
        ("a; filename=b", "a; filename=b"),
        ("", "upload"),
    ],
)
def test_names_as_clients_encode_them(header: str, name: str) -> None:
    assert parse([PURPOSE + file_part(b"x", header) + END])[0] == name


def test_a_name_in_latin_1_is_read() -> None:
    body = (PURPOSE + file_part(b"x", "n@me") + END).replace(b"n@me", b"n\xe4me")
    assert parse([body])[0] == "n\u00e4me"


MALFORMED: dict[str, tuple[bytes, str, str | None, str]] = {
    "empty": (b"", "invalid_multipart", None, "closing boundary"),
    "no parts": (END, "missing_required_parameter", "file", "file"),
    "no file": (PURPOSE + END, "missing_required_parameter", "file", "file"),
    "no purpose": (file_part(b"x") + END, "missing_required_parameter", "purpose", "purpose"),
    "two files": (
        PURPOSE + file_part(b"x") + file_part(b"y") + END,
        "invalid_multipart",
        None,
        "more than once",
    ),
    "two purposes": (PURPOSE * 2 + file_part(b"x") + END, "invalid_multipart", None, "more than once"),
    "an unknown field": (field("porpose", "x") + END, "unknown_parameter", "porpose", "porpose"),
    "a file without a name": (PURPOSE + field("file", "x") + END, "invalid_multipart", None, "no file name"),
    "a purpose with a file name": (
        PURPOSE.replace(b'name="purpose"', b'name="purpose"; filename="a"') + END,
        "invalid_multipart",
        None,
        "expected a field",
    ),
    "another boundary": (
        form(b"x").replace(BOUNDARY.encode(), b"other"),
        "invalid_multipart",
        None,
        "boundary",
    ),
    "JSON": (b'{"purpose": "batch"}', "invalid_multipart", None, "boundary"),
    "no end": (PURPOSE + file_part(b"x"), "invalid_multipart", None, "closing boundary"),
    "a cut end": (form(b"x")[:-4], "invalid_multipart", None, "closing boundary"),
    "a nested form": (
        PURPOSE + file_part(b"x", "a", "Content-Type: multipart/mixed; boundary=b") + END,
        "invalid_multipart",
        None,
        "itself a multipart",
    ),
    "base64": (
        PURPOSE + file_part(b"eA==", "a", "Content-Transfer-Encoding: base64") + END,
        "invalid_multipart",
        None,
        "base64",
    ),
    "a huge header": (
        PURPOSE + file_part(b"x", "a" * 5000) + END,
        "invalid_multipart",
        None,
        str(MAX_HEADER_BYTES),
    ),
    "many headers": (
        PURPOSE + file_part(b"x", "a", *(f"X-{n}: 1" for n in range(20))) + END,
        "invalid_multipart",
        None,
        "headers",
    ),
    "a part without a name": (
        PURPOSE.replace(b'; name="purpose"', b"") + END,
        "invalid_multipart",
        None,
        "Content-Disposition",
    ),
    "a part without headers": (
        f"--{BOUNDARY}\r\n\r\nx\r\n".encode() + END,
        "invalid_multipart",
        None,
        "Content-Disposition",
    ),
    "a malformed header": (
        f"--{BOUNDARY}\r\nbad header\r\n\r\nx\r\n".encode() + END,
        "invalid_multipart",
        None,
        "headers",
    ),
    "a long name": (PURPOSE + file_part(b"x", "a" * 300) + END, "string_above_max_length", "file", "255"),
    "a long field": (field("purpose", "x" * 5000), "string_above_max_length", "purpose", "1024"),
    "half an expiry": (
        PURPOSE + field("expires_after[seconds]", "3600") + file_part(b"x") + END,
        "missing_required_parameter",
        "expires_after[anchor]",
        "anchor",
    ),
    "another anchor": (
        PURPOSE
        + field("expires_after[seconds]", "3600")
        + field("expires_after[anchor]", "now")
        + file_part(b"x")
        + END,
        "invalid_value",
        "expires_after[anchor]",
        "created_at",
    ),
    "a lifetime in words": (
        PURPOSE
        + field("expires_after[seconds]", "१२३४")
        + field("expires_after[anchor]", "created_at")
        + file_part(b"x")
        + END,
        "invalid_type",
        "expires_after[seconds]",
        "integer",
    ),
}


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_form_is_refused_with_a_reason(name: str) -> None:
    body, code, param, text = MALFORMED[name]
    for size in (1, 7, len(body) or 1):
        with pytest.raises(ApiError) as excinfo:
            parse(split(body, size))
        error = excinfo.value
        assert (error.status, error.code, error.param) == (400, code, param), size
        assert text in error.message


def test_any_cut_form_is_refused() -> None:
    body = form(b"content")
    for length in range(len(body) - 2):
        with pytest.raises(ApiError) as excinfo:
            parse([body[:length]])
        assert excinfo.value.code == "invalid_multipart"


def test_random_bytes_never_crash_the_parser() -> None:
    generator = random.Random(11)
    body = form(b"content" * 5)
    for _ in range(2000):
        broken_body = bytearray(body)
        for _ in range(generator.randint(1, 6)):
            at = generator.randrange(len(broken_body))
            broken_body[at : at + generator.randint(0, 3)] = generator.randbytes(generator.randint(0, 3))
        try:
            parse(split(bytes(broken_body), generator.randint(1, 200)))
        except ApiError as error:
            assert error.status == 400  # noqa: PT017 - most of them are still valid

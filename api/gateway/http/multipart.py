"""Forms with one file (multipart/form-data, RFC 7578), parsed in pieces; no piece of the file is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.gateway.http.exchange import Exchange
from api.openai.errors.base import printable
from api.openai.errors.files import InvalidMultipart, MultipartExpected
from api.openai.errors.parameters import MissingRequiredParameter, StringAboveMaxLength, UnknownParameter
from tenants.files.filenames import MAX_LENGTH, clean_filename

FILE = "file"
MULTIPART = "multipart/form-data"
MAX_VALUE_BYTES = 1024
MAX_HEADERS = 8
MAX_HEADER_BYTES = 4096
# Bytes that boundaries, headers and fields may add to a file.
MAX_FORM_BYTES = 64 * 1024
# Transfer encodings that leave the content as it is.
_PLAIN_ENCODINGS = frozenset({"", "binary", "7bit", "8bit"})


def check_multipart_headers(exchange: Exchange) -> bytes:
    """Refuse a body that is not a form, before any of it is read. Returns the boundary. Raises ApiError."""
    media_type, parameters = parse_options_header(exchange.header(b"content-type") or "")
    boundary = parameters.get(b"boundary", b"")
    coding = (exchange.header(b"content-encoding") or "identity").strip().lower()
    if media_type != MULTIPART.encode() or not boundary or coding != "identity":
        raise MultipartExpected(headers={"accept": MULTIPART})
    return boundary


@dataclass(slots=True)
class _Part:
    """A part of the form, as far as it has been parsed."""

    headers: dict[str, str] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    name: str = ""
    value: bytearray = field(default_factory=bytearray)


class MultipartForm:
    """A form with a file and short fields, in any order.

    ``write`` receives the file's content as it arrives. ``filename`` is its clean name, None until the file's
    part begins. ``fields`` are the values of ``field_names`` that the client sent. Not for use by several
    threads at once.
    """

    def __init__(self, boundary: bytes, field_names: Collection[str], write: Callable[[bytes], None]) -> None:
        """Raises ApiError if the boundary is invalid."""
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._field_names, self._write = field_names, write
        self._part = _Part()
        self._is_complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header_name,
                    "on_header_value": self._add_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
                max_header_count=MAX_HEADERS,
                max_header_size=MAX_HEADER_BYTES,
            )
        except FormParserError:
            raise InvalidMultipart(reason="its boundary is too long") from None

    def feed(self, data: bytes) -> None:
        """Parse the next piece of the body. Raises ApiError, and whatever ``write`` raises."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidMultipart(reason=_reason(error)) from None

    def finish(self) -> None:
        """Check that the form is complete and has a file. Raises ApiError."""
        if not self._is_complete:
            raise InvalidMultipart(reason="it ends before its closing boundary")
        if self.filename is None:
            raise MissingRequiredParameter(param=FILE)

    # ---- callbacks of the parser ----

    def _begin_part(self) -> None:
        self._part = _Part()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _end_header(self) -> None:
        part = self._part
        part.headers[part.header_name.decode("latin-1").lower()] = part.header_value.decode("latin-1")
        part.header_name = part.header_value = b""

    def _end_headers(self) -> None:
        part = self._part
        disposition, parameters = parse_options_header(part.headers.get("content-disposition", ""))
        if disposition != b"form-data" or b"name" not in parameters:
            raise InvalidMultipart(reason="a part has no header 'Content-Disposition: form-data' with a name")
        part.name = _text(parameters[b"name"])
        filename = parameters.get(b"filename")
        _check_encoding(part)
        if part.name == FILE:
            self._begin_file(part, filename)
        elif part.name not in self._field_names:
            raise UnknownParameter(param=part.name)
        elif filename is not None:
            raise InvalidMultipart(reason=f"the part '{part.name}' is a file; expected a field")
        elif part.name in self.fields:
            raise InvalidMultipart(reason=f"the field '{part.name}' occurs more than once")

    def _begin_file(self, part: _Part, filename: bytes | None) -> None:
        if self.filename is not None:
            raise InvalidMultipart(reason="the part 'file' occurs more than once; upload one file at a time")
        if filename is None:
            raise InvalidMultipart(reason="the part 'file' has no file name")
        if part.headers.get("content-type", "").strip().lower().startswith("multipart/"):
            raise InvalidMultipart(reason="the part 'file' is itself a multipart body")
        # Clients encode a quotation mark in this way (WHATWG, multipart/form-data encoding algorithm).
        name = _text(filename).replace("%22", '"')
        try:
            self.filename = clean_filename(name)
        except ValueError:
            raise StringAboveMaxLength(param=FILE, bound=MAX_LENGTH, length=len(name)) from None

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part.name == FILE:
            self._write(data[start:end])
            return
        part.value += data[start:end]
        if len(part.value) > MAX_VALUE_BYTES:
            raise StringAboveMaxLength(param=part.name, bound=MAX_VALUE_BYTES, length=len(part.value))

    def _end_part(self) -> None:
        part = self._part
        if part.name != FILE:
            self.fields[part.name] = _text(bytes(part.value))

    def _end(self) -> None:
        self._is_complete = True


def _check_encoding(part: _Part) -> None:
    encoding = part.headers.get("content-transfer-encoding", "").strip().lower()
    if encoding not in _PLAIN_ENCODINGS:
        reason = f"the part '{printable(part.name)}' has the transfer encoding '{printable(encoding)}'"
        raise InvalidMultipart(reason=f"{reason}; send the content as it is")


def _text(data: bytes) -> str:
    """Decode UTF-8, which all current clients send; in older ones' Latin-1 any byte is valid."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _reason(error: FormParserError) -> str:
    text = str(error)
    if "header size" in text:
        return f"a header of a part exceeds {MAX_HEADER_BYTES} bytes"
    if "header count" in text:
        return f"a part has more than {MAX_HEADERS} headers"
    if "header" in text:
        return "the headers of a part are malformed"
    return "it doesn't match the boundary in the header Content-Type"

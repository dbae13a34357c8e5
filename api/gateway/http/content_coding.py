"""Decoding of compressed bodies, in pieces of bounded size."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from api.openai.errors.parameters import InvalidRequest

PIECE_BYTES = 256 * 1024
MAX_MEMBERS = 16  # gzip data may be concatenated; each member costs time even if it is empty
_FORMAT_BYTES = 2  # enough to distinguish zlib from raw deflate
_GZIP, _ZLIB, _RAW = 31, 15, -15  # window bits, as zlib encodes the format


class BodyDecoder:
    """Decodes a body with the content coding ``gzip`` or ``deflate`` (RFC 9110, 8.4.1).

    ``deflate`` means the zlib format, but many clients send the raw format.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._head = b""
        self._members = 0
        self._decompressor: zlib._Decompress | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded data in pieces of at most ``PIECE_BYTES``. Raises InvalidRequest.

        A caller that stops iterating at its limit spends no time on the rest.
        """
        while data:
            decompressor = self._decompressor
            if decompressor is None:
                data = self._head + data
                if len(data) < _FORMAT_BYTES:
                    self._head = data
                    return
                decompressor = self._begin_member(data)
            try:
                piece = decompressor.decompress(data, PIECE_BYTES)
            except zlib.error:
                raise self._invalid() from None
            if piece:
                yield piece
            data = decompressor.unconsumed_tail
            if decompressor.eof:
                data, self._decompressor = decompressor.unused_data, None

    def finish(self) -> None:
        """Check that the data is complete. Raises InvalidRequest."""
        if self._head or self._decompressor is not None or not self._members:
            raise self._invalid()

    def _begin_member(self, data: bytes) -> zlib._Decompress:
        if self._members >= (MAX_MEMBERS if self._coding == "gzip" else 1):
            raise self._invalid()
        self._members += 1
        self._head = b""
        is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:_FORMAT_BYTES], "big") % 31 == 0
        window_bits = _GZIP if self._coding == "gzip" else _ZLIB if is_zlib else _RAW
        self._decompressor = zlib.decompressobj(window_bits)
        return self._decompressor

    def _invalid(self) -> InvalidRequest:
        return InvalidRequest(reason=f"the body is not valid {self._coding} data")

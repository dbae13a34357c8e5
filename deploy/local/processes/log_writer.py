"""``python log_writer.py PATH MAX_BYTES KEEP``: writes standard input to a log that is rotated by size.

There is one such process per program. It ends with its input, which the program and the launcher hold open,
so a program that drains after its launcher was killed still logs. On a full disk it discards output and logs
how much. It imports no package of the project, because it stays in memory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

READ_BYTES = 2**16
PRIVATE = 0o600


class RotatedLog:
    """A log file of at most ``max_bytes`` with ``keep`` older ones: ``PATH.1`` is the youngest of these."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._discarded_bytes = 0

    def write(self, data: bytes) -> None:
        """Append the data, rotating wherever it does not fit, at the end of a line if possible."""
        for piece in _pieces(data, self._max_bytes):
            self._append(piece)

    def _append(self, data: bytes) -> None:
        with suppress(OSError):
            self._rotate_if_full(len(data))
        descriptor = None
        try:
            # Opened each time: the folder may be missing or full for a while, or an operator moves the file.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE)
            os.fchmod(descriptor, PRIVATE)
            if self._discarded_bytes:
                note = (
                    f"{self._discarded_bytes} bytes of output were discarded: the log could not be written\n"
                )
                _write_all(descriptor, note.encode())
                self._discarded_bytes = 0
            _write_all(descriptor, data)
        except OSError:
            self._discarded_bytes += len(data)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def rotate(self) -> None:
        """Rename the log to ``PATH.1``, and older ones accordingly; the oldest is deleted."""
        for number in range(self._keep, 0, -1):
            source = self._path if number == 1 else self._numbered(number - 1)
            with suppress(FileNotFoundError):
                source.replace(self._numbered(number))
        if self._keep == 0:
            self._path.unlink(missing_ok=True)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _rotate_if_full(self, size: int) -> None:
        current_size = self._path.stat().st_size
        if current_size and current_size + size > self._max_bytes:
            self.rotate()


def _pieces(data: bytes, max_bytes: int) -> Iterator[bytes]:
    """Split the data into pieces of at most ``max_bytes``, after a line wherever one ends in the piece."""
    start = 0
    while len(data) - start > max_bytes:
        end = data.rfind(b"\n", start, start + max_bytes) + 1 or start + max_bytes
        yield data[start:end]
        start = end
    yield data[start:]


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def copy_lines(source: int, log: RotatedLog) -> None:
    """Copy the source to the log until it ends, in pieces that end with a line if possible."""
    rest = b""
    while chunk := os.read(source, READ_BYTES):
        whole, newline, rest_of_line = (rest + chunk).rpartition(b"\n")
        rest = rest_of_line
        if newline:
            log.write(whole + newline)
        if len(rest) >= READ_BYTES:  # a line without an end
            log.write(rest)
            rest = b""
    if rest:
        log.write(rest)


def main(arguments: list[str]) -> None:
    """Rotate the log of the previous start, then write the standard input to a new one."""
    path, max_bytes, keep = arguments
    os.umask(0o077)
    log = RotatedLog(Path(path), int(max_bytes), int(keep))
    copy_lines(0, log)


if __name__ == "__main__":
    main(sys.argv[1:])

"""A disk that is full, for the code of a test in its own process."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

MOST_BYTES = 1 << 20  # more than what the test run itself writes meanwhile


@contextmanager
def full_disk() -> Iterator[None]:
    """Make writes beyond ``MOST_BYTES`` of a file fail with EFBIG."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

"""The limit of a wait for what must happen: long enough that only a fault reaches it on a busy machine.

A test that promises a time asserts it of the measured duration; its waits keep this limit.
"""

from __future__ import annotations

PATIENCE_S = 120.0

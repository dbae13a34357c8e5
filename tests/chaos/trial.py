"""One trial: a stack, load, faults, calm, and the comparison of records."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.kills import PROGRAMS, Kills
from tests.chaos.limits import limit_faults, limited_keys
from tests.chaos.load import Load, SentRequest
from tests.chaos.records import Records, records_of
from tests.faults.engines import faulty_engine
from tests.stacks import RunningStack, open_folder, running_stack, wait_until

CALM_TIMEOUT_S = 120.0
# The sweep returns a reservation without a record after 30 s.
RESERVED_TIMEOUT_S = 60.0


@contextlib.contextmanager
def scripted_stack() -> Iterator[RunningStack]:
    """Run a stack in front of a scripted engine."""
    with open_folder() as folder, faulty_engine() as url:
        settings = {
            "CYLLM_WORKER_MODEL": "scripted",
            "CYLLM_WORKER_ENGINE": "remote",
            "CYLLM_WORKER_ENGINE_URL": url,
        }
        with running_stack(folder / "state", settings) as stack:
            yield stack


@dataclass(frozen=True)
class Result:
    """The result of a trial. ``recovery_s``: time after the load until the stack was ready.

    ``limit_faults``: what was admitted beyond a limit, or is still reserved.
    """

    requests: Sequence[SentRequest]
    faults: Sequence[str]
    records: Records
    limit_faults: Sequence[str]
    recovery_s: float

    @property
    def wrong_answers(self) -> list[SentRequest]:
        """The requests whose answer was wrong."""
        return [item for item in self.requests if item.fault]

    @property
    def is_right(self) -> bool:
        """True if no answer and no record was wrong, and no limit exceeded."""
        return self.records.is_right and not self.wrong_answers and not self.limit_faults

    def report(self) -> str:
        """Return the result as text."""
        kinds = Counter((item.kind, item.status) for item in self.requests)
        lines = [f"{len(self.requests)} requests, ready {self.recovery_s:.1f} s after the load"]
        lines += [
            f"  {kind:<8} {status or 'broken'}: {count}" for (kind, status), count in sorted(kinds.items())
        ]
        codes = Counter(item.code for item in self.requests if item.code)
        lines += [f"  {count} {code}" for code, count in codes.most_common()]
        lines += ["faults:", *(f"  {line}" for line in self.faults), f"records: {self.records}"]
        lines += [
            f"limits: {line}" for line in self.limit_faults or ["none was exceeded, nothing is reserved"]
        ]
        lines += [
            f"wrong: {item.correlation_id} {item.kind}: {item.fault}" for item in self.wrong_answers[:20]
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Trial:
    """Settings of a trial."""

    seconds: float
    concurrency: int = 12
    pause_s: float = 0.0
    faults: int = 19
    programs: Sequence[str] = PROGRAMS
    seed: int = 1

    def run(self) -> Result:
        """Run the trial on a stack of its own."""
        with scripted_stack() as stack:
            return self.run_on(stack)

    def run_on(self, stack: RunningStack) -> Result:
        """Run the trial on a running stack."""
        load = Load(stack.base_url, stack.key, stack.model, self.seed, limited_keys(stack))
        kills = Kills(stack, self.seed, self.seconds, self.faults, self.programs)
        thread = kills.start()
        asyncio.run(load.run(self.seconds, self.concurrency, self.pause_s))
        thread.join()
        recovery_s = wait_until(stack.ready, "the stack is ready again", timeout_s=CALM_TIMEOUT_S)
        records = self._settled_records(stack, load.requests)
        with contextlib.suppress(AssertionError):
            wait_until(
                lambda: not limit_faults(stack), "no reservation is left", timeout_s=RESERVED_TIMEOUT_S
            )
        return Result(load.requests, kills.log, records, limit_faults(stack), recovery_s)

    def _settled_records(self, stack: RunningStack, requests: Sequence[SentRequest]) -> Records:
        """Return the records once they are right, or after the time limit."""
        with contextlib.suppress(AssertionError):
            wait_until(
                lambda: records_of(stack, requests).is_right,
                "the records are complete",
                timeout_s=CALM_TIMEOUT_S,
            )
        return records_of(stack, requests)

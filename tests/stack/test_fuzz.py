"""Mutated requests, as many as ``--fuzz-cases``: each gets a valid response and leaves no trace in logs."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from inference_worker.protocol.messages import REFUSAL_STATUSES
from tests.fuzzing.mutations import Case, case_of
from tests.fuzzing.seeds import CANARY, seeds
from tests.fuzzing.values import INJECTED
from tests.fuzzing.verdict import faults
from tests.fuzzing.wire import Connection, Raw, request
from tests.stack.conftest import OwnedStack
from tests.stack.records import heartbeat, running
from tests.stacks import wait_until

SEED = 20261125
CONNECTIONS = 24
MORE_PATHS = [
    "/v1/models",
    "/v1/models/tiny",
    "/v1/files",
    "/v1/streams/none",
    "/v1/responses/resp_none",
]
UNREAD = "invalid_http_request"  # rejected by the HTTP parser, so there is no record
PROCESSES = ("gateway", "worker", "celery", "beat")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u2028\u2029]")


@dataclass
class Outcome:
    """Responses to all cases, and their faults."""

    answers: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    ids: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[Case, list[str]]] = field(default_factory=list)
    slowest_s: float = 0.0

    def add(self, case: Case, answer: Raw) -> None:
        self.answers[answer.status] += 1
        self.slowest_s = max(self.slowest_s, answer.took_s)
        code = ""
        if answer.status >= 400:
            code = str(json.loads(answer.body)["error"]["code"])
            self.codes[code] += 1
        # Repeated refusals of keys are counted, not recorded one by one.
        if code != UNREAD and answer.status not in REFUSAL_STATUSES:
            self.ids[answer.header("x-request-id") or ""] += 1
        if case_faults := faults(answer, case.tree):
            self.wrong.append((case, case_faults))

    def _by_size(self, *, reverse: bool) -> list[tuple[Case, list[str]]]:
        return sorted(self.wrong, key=lambda pair: len(pair[0].body), reverse=reverse)

    def report(self) -> str:
        """Return a summary with the smallest body of each fault."""
        smallest = {repr(entry[1])[:60]: entry for entry in self._by_size(reverse=True)}
        lines = [
            f"seed {SEED}, {sum(self.answers.values())} answers {dict(self.answers)}, {self.slowest_s:.1f} s"
        ]
        lines += [f"{len(self.wrong)} wrong", str(self.codes.most_common())]
        for case, case_faults in smallest.values():
            lines.append(f"case {case.number} {case.did}: {case_faults}")
            lines.append(f"  {case.method} {case.path} {case.headers} {case.body[:600]!r}")
        return "\n".join(lines)


async def _send(connection: Connection, case: Case, key: str, host: str) -> Raw:
    headers = [("host", host), ("content-length", str(len(case.body))), *case.headers]
    if not any(name == "authorization" for name, _ in case.headers):
        headers.append(("authorization", f"Bearer {key}"))
    return await connection.ask(request(case.method, case.path, headers, case.body))


async def _run(stack: OwnedStack, cases: int) -> Outcome:
    address = urlsplit(stack.base_url)
    result = Outcome()
    bodies = seeds()
    numbers = iter(range(cases))

    async def visit() -> None:
        async with Connection(address.hostname or "", address.port or 0) as connection:
            for number in numbers:
                case = case_of(SEED, number, bodies, MORE_PATHS)
                try:
                    result.add(case, await _send(connection, case, stack.key, address.netloc))
                except (OSError, EOFError) as error:
                    result.wrong.append((case, [f"no answer: {type(error).__name__}"]))

    await asyncio.gather(*(visit() for _ in range(CONNECTIONS)))
    return result


def _recorded(stack: OwnedStack) -> Counter[str]:
    with stack.database() as connection:
        rows = connection.execute("SELECT correlation_id FROM tenants_auditrecord").fetchall()
    return Counter(str(row[0]) for row in rows)


def test_each_seed_is_a_valid_request(ready_stack: OwnedStack) -> None:
    with ready_stack.client() as client:
        for path, body in seeds():
            answer = client.post(path, json=body)
            assert answer.status_code == 200, (body, answer.text)


@pytest.mark.criterion("6.6")
def test_mutated_requests_do_no_harm(ready_stack: OwnedStack, fuzz_cases: int) -> None:
    stack = ready_stack
    pids = {name: stack.pid(name) for name in PROCESSES}
    log_lengths = {name: len(stack.log(name)) for name in PROCESSES}
    before, beat = _recorded(stack), heartbeat(stack)
    result = asyncio.run(_run(stack, fuzz_cases))
    print(result.report())
    assert not result.wrong, result.report()
    assert result.answers[200] > fuzz_cases / 20
    assert len(result.codes) > 20, result.codes

    wait_until(lambda: running(stack) == 0, "the engine has nothing left to do")
    after = heartbeat(stack)
    assert beat is not None
    assert after is not None
    assert (after.boot, {name: stack.pid(name) for name in PROCESSES}) == (beat.boot, pids)
    refusal_count = sum(result.answers[status] for status in REFUSAL_STATUSES)
    assert result.ids.total() + refusal_count > fuzz_cases * 0.98
    expected = result.ids + Counter({name: before[name] for name in result.ids})
    wait_until(lambda: not expected - _recorded(stack), "all audit rows are there")
    record_count = _recorded(stack)
    assert {name: record_count[name] for name in expected} == expected, "a request has more than one record"
    for name in PROCESSES:
        _check_log(stack.log(name)[log_lengths[name] :], stack.key)
    with stack.database() as connection:
        rows = connection.execute(
            "SELECT count(*) FROM tenants_auditrecord r WHERE r::text ~ %s", [f"{CANARY}|{INJECTED}|<"]
        )
        assert rows.fetchone() == (0,)


def _check_log(text: str, key: str) -> None:
    lines = text.splitlines()
    for secret in (CANARY, INJECTED, key):
        assert [line[:300] for line in lines if secret in line][:3] == []
    assert [line[:300] for line in text.split("\n") if _CONTROL.search(line)][:3] == []

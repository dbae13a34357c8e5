"""Validates every answer and event that a test's clients receive from a running stack.

Clients in the test's process are recorded in their transports, without the tests' doing; other programs
connect through ``recording_proxy``. The recordings are validated after each test, when nothing is timed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import httpx2
import pytest

SSE = "text/event-stream"


@dataclass
class RecordedAnswer:
    """An answer as far as it has arrived."""

    method: str
    target: str
    status: int
    content_type: str
    body: bytearray = field(default_factory=bytearray)
    is_complete: bool = False

    def fault(self) -> str | None:
        """Return the fault of the answer or of one of its events."""
        if not self.is_complete and not self.content_type.startswith(SSE):
            return None
        from tests.sdk_validation import check_answer  # a second of imports that most processes don't need

        path = unquote(urlsplit(self.target).path)
        try:
            check_answer(self.method, path, self.status, self.content_type, bytes(self.body))
        except Exception as error:
            return f"{self.method} {self.target} {self.status}: {error}\n{bytes(self.body[:2000])!r}"
        return None


class Recorder:
    """Records answers from the addresses of running stacks, until ``take`` returns them."""

    def __init__(self) -> None:
        self._origins: set[str] = set()
        self._answers: list[RecordedAnswer] = []

    def watch(self, base_url: str) -> None:
        """Record answers from this address."""
        self._origins.add(base_url)

    def add(self, answer: RecordedAnswer) -> None:
        """Add an answer, whose body may still grow."""
        self._answers.append(answer)

    def answer_to(self, request: Any, response: Any) -> RecordedAnswer | None:
        """Return the new record of a response, or None for one of another server."""
        url = urlsplit(str(request.url))
        if f"{url.scheme}://{url.netloc}" not in self._origins:
            return None
        content_type = response.headers.get("content-type", "")
        answer = RecordedAnswer(request.method, str(request.url), response.status_code, content_type)
        self.add(answer)
        return answer

    def take(self) -> list[RecordedAnswer]:
        """Return the answers since the last call."""
        answers, self._answers = self._answers, []
        return answers


RECORDER = Recorder()


def assert_valid(answers: list[RecordedAnswer]) -> None:
    """Raise AssertionError with the first faults of the answers."""
    faults = [fault for answer in answers if (fault := answer.fault()) is not None]
    assert not faults, "\n\n".join([f"{len(faults)} of {len(answers)} answers are invalid", *faults[:3]])


def _recorded(chunks: Iterator[bytes], answer: RecordedAnswer) -> Iterator[bytes]:
    for chunk in chunks:
        answer.body += chunk
        yield chunk
    answer.is_complete = True


async def _recorded_async(chunks: AsyncIterator[bytes], answer: RecordedAnswer) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        answer.body += chunk
        yield chunk
    answer.is_complete = True


def _stream_types(library: Any) -> tuple[type, type]:
    """Return the two types of a library's recorded streams."""

    class RecordedStream(library.SyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, answer: RecordedAnswer) -> None:
            self._stream, self._answer = stream, answer

        def __iter__(self) -> Iterator[bytes]:
            return _recorded(iter(self._stream), self._answer)

        def close(self) -> None:
            self._stream.close()

    class RecordedAsyncStream(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, answer: RecordedAnswer) -> None:
            self._stream, self._answer = stream, answer

        def __aiter__(self) -> AsyncIterator[bytes]:
            return _recorded_async(aiter(self._stream), self._answer)

        async def aclose(self) -> None:
            await self._stream.aclose()

    return RecordedStream, RecordedAsyncStream


def _record(library: Any) -> Callable[[], None]:
    """Record in the transports of a library. Returns the function that ends it."""
    stream_type, async_stream_type = _stream_types(library)
    handle = library.HTTPTransport.handle_request
    handle_async = library.AsyncHTTPTransport.handle_async_request

    def recorded_handle(self: Any, request: Any) -> Any:
        response = handle(self, request)
        if (answer := RECORDER.answer_to(request, response)) is not None:
            response.stream = stream_type(response.stream, answer)
        return response

    async def recorded_handle_async(self: Any, request: Any) -> Any:
        response = await handle_async(self, request)
        if (answer := RECORDER.answer_to(request, response)) is not None:
            response.stream = async_stream_type(response.stream, answer)
        return response

    def restore() -> None:
        library.HTTPTransport.handle_request = handle
        library.AsyncHTTPTransport.handle_async_request = handle_async

    library.HTTPTransport.handle_request = recorded_handle
    library.AsyncHTTPTransport.handle_async_request = recorded_handle_async
    return restore


@pytest.fixture(scope="session", autouse=True)
def recorded_transports() -> Iterator[None]:
    """Record the answers that httpx and httpx2, the SDK's library, receive from stacks."""
    restores = [_record(library) for library in (httpx, httpx2)]
    yield
    for restore in restores:
        restore()


@pytest.fixture(autouse=True)
def valid_answers(recorded_transports: None) -> Iterator[None]:
    """Fail a test that has received an invalid answer or event from a stack."""
    yield
    assert_valid(RECORDER.take())

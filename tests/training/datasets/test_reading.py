"""Files of all kinds are read or refused with the line at fault, in bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import random
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.training.datasets.faulty_lines import CALLED
from training.datasets.examples import ChatExample, Example, PreferenceExample
from training.datasets.faults import Fault
from training.datasets.lines import MAX_RECORD_BYTES, FileTraits, read_records
from training.datasets.reading import Reading, read_examples
from training.datasets.structure import check_structure

ROOT = Path(__file__).resolve().parents[3]
GOOD = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
LINE = json.dumps(GOOD).encode()


class _Pieces(io.BytesIO):
    """A stream that returns pieces of random sizes, as a network does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 9, random.randint(1, 9)))


def _read(content: bytes) -> list[Example | Fault]:
    return list(read_examples(io.BytesIO(content), Reading()))


@pytest.mark.case("training.12")
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_byte_order_mark_and_blank_lines_are_read_and_noted(end: bytes) -> None:
    lines = [b"\xef\xbb\xbf", LINE, b"", b"  \t", LINE, b'{"messages": 1}', b""]
    content = end.join(lines) + end + end + b'{"messages": 2}'
    report = check_structure(io.BytesIO(content))
    assert report.format == "chat"
    assert report.examples == 2
    assert [fault.line for fault in report.faults] == [6, 9]
    notes = {note.code: (note.line, note.count) for note in report.notes}
    assert notes["bom"] == (1, 1)
    assert notes["blank_lines"] == (1, 5)
    assert notes["no_last_newline"] == (9, 1)
    assert ("crlf" in notes) == (end == b"\r\n")


def test_the_byte_order_mark_may_be_right_before_the_first_example() -> None:
    report = check_structure(io.BytesIO(b"\xef\xbb\xbf" + LINE + b"\n"))
    assert report.is_valid
    assert [note.code for note in report.notes] == ["bom"]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_read_element_by_element(indent: int | None) -> None:
    values = [GOOD, {**GOOD, "id": 'br]ack,et} "quoted\\" é'}, {"messages": 1}, GOOD]
    content = json.dumps(values, indent=indent).encode() + b"\n"
    report = check_structure(_Pieces(b"\n " + content))
    assert report.examples == 3
    expected_line = 2
    if indent:
        text = content.decode().splitlines()
        expected_line = next(n for n, line in enumerate(text, 2) if line.strip() == '"messages": 1') - 1
    assert [(fault.line, fault.path) for fault in report.faults] == [(expected_line, "[2].messages")]
    assert "json_array" in [note.code for note in report.notes]


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"[" + LINE, "unclosed_array", 1),
        (b"[" + LINE + b"}", "unclosed_array", 1),
        (b"[" + LINE + b"]\n" + LINE, "text_after_array", 2),
        (b"[" + LINE + b",\n,\n" + LINE + b"]", "missing_element", 2),
        (b"[" + LINE + b"\n" + LINE + b"]", "several_values", 2),
        (b"[3]", "not_an_object", 1),
        (b"[" * 5000, "too_deep", 1),
    ],
)
def test_faults_of_arrays(content: bytes, code: str, line: int) -> None:
    report = check_structure(_Pieces(content))
    assert [(fault.code, fault.line) for fault in report.faults] == [(code, line)]


@pytest.mark.parametrize(
    ("content", "description"),
    [
        ("é".encode("utf-16"), "UTF-16 text"),
        (gzip.compress(LINE, mtime=0), "gzip data"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"PAR1....", "a Parquet file"),
    ],
)
def test_files_that_are_no_text_are_named(content: bytes, description: str) -> None:
    (fault,) = check_structure(io.BytesIO(content)).faults
    assert (fault.code, fault.found) == ("not_text", description)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"[]", b"   "])
def test_a_file_without_examples_is_refused(content: bytes) -> None:
    report = check_structure(io.BytesIO(content))
    assert [fault.code for fault in report.faults] == ["no_examples"]
    assert not report.is_valid


def test_a_line_that_is_too_long_is_skipped_and_the_next_one_read() -> None:
    long = b'{"messages": "' + b"x" * MAX_RECORD_BYTES + b'"}'
    for content in (LINE + b"\n" + long + b"\n" + LINE, b"[" + LINE + b",\n" + long + b",\n" + LINE + b"]"):
        report = check_structure(io.BytesIO(content))
        assert [(fault.code, fault.line) for fault in report.faults] == [("line_too_long", 2)]
        assert report.examples == 2


def test_escaped_null_characters_and_complete_surrogate_pairs_are_text() -> None:
    line = LINE.replace(b'"a"', b'"a\\u0000\\ud83d\\ude00"')
    (item,) = _read(line)
    assert isinstance(item, ChatExample)
    assert item.messages[0].content == "a\x00😀"


def test_equal_examples_are_counted_with_their_lines() -> None:
    spaced_line = json.dumps(GOOD, indent=None, separators=(" , ", " : ")).encode()
    other = LINE.replace(b'"b"', b'"c"')
    report = check_structure(io.BytesIO(b"\n".join([LINE, other, spaced_line, b"", LINE, other])))
    assert report.duplicates == 3
    assert report.duplicate_lines == ((3, 1), (5, 1), (6, 2))


def test_fields_without_a_meaning_are_noted_and_misspelt_ones_refused() -> None:
    lines = [{**GOOD, "id": 7, "source": "x"}, {**GOOD, "id": 8}, {**GOOD, "tols": []}]
    report = check_structure(io.BytesIO("\n".join(map(json.dumps, lines)).encode()))
    assert [(note.message, note.count) for note in report.notes if note.code == "ignored_field"] == [
        ('The field "id" has no meaning in this format and is ignored.', 2),
        ('The field "source" has no meaning in this format and is ignored.', 1),
    ]
    assert [(fault.line, fault.path) for fault in report.faults] == [(3, "tols")]


_NAMES = "messages role content tools tool_calls weight prompt completion chosen rejected".split()  # noqa: SIM905
_NAMES += "conversations from value input preferred_output non_preferred_output".split()  # noqa: SIM905
_NAMES += "instruction output function name arguments type id".split()  # noqa: SIM905
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(_NAMES),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
_lines = st.lists(
    st.binary(max_size=30)
    | _json.map(lambda value: json.dumps(value).encode())
    | st.tuples(st.integers(0, 400), st.binary(max_size=3)).map(
        lambda change: LINE[: change[0]] + change[1] + LINE[change[0] + len(change[1]) :]
    )
    | st.sampled_from([LINE, b"[", b"]", b",", b"\xef\xbb\xbf", json.dumps(CALLED).encode()]),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200) | _lines.map(b"\n".join))
@example(content=b'{"messages":[{"role":[{}]}]}')
@example(content=b'{"prompt":"a","chosen":[{}],"rejected":[{}]}')
@example(content=b'{"messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":"[[[["}}]}]}')
def test_no_bytes_break_the_parser(content: bytes) -> None:
    report = check_structure(io.BytesIO(content), max_faults=10_000)
    assert report.is_valid == (report.fault_count == 0)
    assert len(report.faults) == report.fault_count
    places = [(fault.line, fault.path, fault.code) for fault in report.faults]
    assert len(set(places)) == len(places)
    assert all(1 <= line <= content.count(b"\n") + 1 for line, _, _ in places)
    assert all(fault.message.isprintable() for fault in report.faults)
    in_pieces = check_structure(_Pieces(content), max_faults=10_000)
    assert (in_pieces.faults, in_pieces.examples) == (report.faults, report.examples)


_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda text: text.strip() != ""
)


@pytest.mark.criterion("2.1")
@settings(max_examples=100, deadline=None)
@given(turns=st.lists(st.tuples(_text, _text), min_size=1, max_size=3), system=st.none() | _text)
def test_valid_examples_are_read_as_they_were_written(
    turns: list[tuple[str, str]], system: str | None
) -> None:
    start = [("system", system)] if system else []
    flat = [
        *start,
        *((role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)),
    ]
    speakers = {"system": "system", "user": "human", "assistant": "gpt"}
    question, answer = turns[0]
    other = answer + "!"
    lines: list[tuple[dict[str, object], list[tuple[str, str]]]] = [
        ({"messages": [{"role": role, "content": text} for role, text in flat]}, flat),
        ({"conversations": [{"from": speakers[role], "value": text} for role, text in flat]}, flat),
        ({"prompt": question, "completion": answer}, [("user", question), ("assistant", answer)]),
        ({"instruction": question, "output": answer}, [("user", question), ("assistant", answer)]),
        (
            {"prompt": question, "chosen": answer, "rejected": other},
            [("user", question), ("assistant", answer)],
        ),
    ]
    for value, expected in lines:
        for ensure_ascii in (False, True):
            (item,) = _read(json.dumps(value, ensure_ascii=ensure_ascii).encode())
            assert not isinstance(item, Fault)
            messages = (*item.prompt, item.chosen) if isinstance(item, PreferenceExample) else item.messages
            assert [(message.role, message.content) for message in messages] == expected
            assert all(message.is_trained == (message.role == "assistant") for message in messages)


_MEASURE = """
import json, resource, sys
from training.datasets.structure import check_structure

class Lines:
    def __init__(self, count):
        self.rest, self.number, self.buffer = count, 0, b""
    def read(self, size):
        while len(self.buffer) < size and self.number < self.rest:
            self.number += 1
            turns = [{"role": "user", "content": f"{self.number} " + "hello " * 150},
                     {"role": "assistant", "content": "fine " * 150}]
            self.buffer += json.dumps({"messages": turns}).encode() + b"\\n"
        piece, self.buffer = self.buffer[:size], self.buffer[size:]
        return piece

check_structure(Lines(100))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = check_structure(Lines(int(sys.argv[1])))
print(report.examples, report.size_bytes, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_file() -> None:
    process = subprocess.run(
        [sys.executable, "-c", _MEASURE, "20000"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    examples, size_bytes, before_kib, after_kib = map(int, process.stdout.split())
    assert examples == 20_000
    assert size_bytes > 30e6
    assert after_kib - before_kib < 6 << 10  # 16 bytes per example, and buffers


def test_the_structural_check_needs_neither_a_tokenizer_nor_a_template_engine() -> None:
    code = (
        "import sys; sys.modules.update({name: None for name in ('tokenizers', 'jinja2', 'django')});"
        "from training.datasets.__main__ import main; sys.exit(main(['check', sys.argv[1]]))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, __file__], cwd=ROOT, capture_output=True, check=False
    )
    assert process.returncode == 1
    assert b"Not valid" in process.stdout


def _seconds(content: bytes) -> float:
    """Return the least CPU time of three checks."""
    times = []
    for _ in range(3):
        start = time.process_time()
        report = check_structure(io.BytesIO(content))
        times.append(time.process_time() - start)
        assert report.fault_codes == {"no_examples": 1}
    return min(times)


def test_blank_lines_with_spaces_cost_no_more_than_empty_ones() -> None:
    assert _seconds(b" \n" * 500_000) < 5 * _seconds(b"\n" * 1_000_000) + 0.05


def test_blank_lines_of_all_kinds_are_counted() -> None:
    traits = FileTraits()
    content = b"\n \t\n\r\n  {}\n \r\n\n\n{}  \n \n  "
    records = list(read_records(io.BytesIO(content), traits))
    assert [record.line for record in records] == [4, 8]
    assert (traits.blank_lines, traits.first_blank_line, traits.lines) == (8, 1, 10)
    assert traits.has_crlf


def test_a_huge_field_name_needs_little_memory() -> None:
    line = b'{"prompt": "a", "completion": "b", "%s": 1}' % (b"k" * 4_000_000)
    tracemalloc.start()
    try:
        report = check_structure(io.BytesIO(line))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (report.examples, report.notes[-1].code) == (1, "ignored_field")
    assert peak < 20 * len(line)


def test_a_fault_names_a_few_of_many_choices() -> None:
    calls = [
        {"id": f"c\x07{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for number in range(5000)
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "other", "content": "1"},
        {"role": "assistant", "content": "b"},
    ]
    [fault] = check_structure(io.BytesIO(json.dumps({"tools": tools, "messages": messages}).encode())).faults
    assert fault.code == "unknown_call"
    assert fault.expected.startswith(r'"c\u00070", "c\u00071", ')
    assert fault.expected.endswith(r'"c\u00079" or 4990 others')

"""Every fault of a file is reported once, with its line and its path."""

from __future__ import annotations

import io
import json

import pytest

from tests.training.datasets.conftest import Write
from tests.training.datasets.faulty_lines import CALLED, faulty_lines
from training.datasets.structure import check_structure


@pytest.mark.criterion("2.1")
@pytest.mark.case("training.13")
@pytest.mark.case("training.14")
def test_each_of_200_faults_is_reported_once_with_line_and_path() -> None:
    cases = faulty_lines()
    assert len({line for line, _, _ in cases}) == len(cases) >= 200
    good = json.dumps(CALLED).encode()
    content = b"".join(good + b"\n" + line + b"\n" for line, _, _ in cases)
    report = check_structure(io.BytesIO(content), max_faults=1000)
    places = [(fault.line, fault.path) for fault in report.faults]
    assert places == [(2 * number, path) for number, (_, path, _) in enumerate(cases, start=1)]
    assert [fault.code for fault in report.faults] == [code for _, _, code in cases]
    assert report.fault_count == len(cases)
    assert report.examples == len(cases)


def test_the_faults_of_one_line_are_all_reported() -> None:
    line = {
        "messages": [
            {"role": "bot", "content": 3},
            {"role": "user", "content": "x", "weight": 1},
            {"role": "assistant", "content": "y", "mood": "good"},
        ]
    }
    report = check_structure(io.BytesIO(json.dumps(line).encode()))
    assert [fault.path for fault in report.faults] == [
        "messages[0].role",
        "messages[0].content",
        "messages[1].weight",
        "messages[2].mood",
    ]


def test_a_fault_names_what_is_there_and_what_is_accepted() -> None:
    line = {"messages": [{"role": "b\x1b[31mot", "content": "x"}]}
    (fault, *_) = check_structure(io.BytesIO(json.dumps(line).encode())).faults
    assert fault.message == (
        'line 1, messages[0].role: found "b\\u001b[31mot"; '
        'expected "system", "developer", "user", "assistant" or "tool"'
    )


def test_values_in_faults_are_clipped() -> None:
    line = {"messages": [{"role": "x" * 10_000, "content": "x", "y" * 10_000: 1}]}
    report = check_structure(io.BytesIO(json.dumps(line).encode()))
    assert report.fault_count == 2
    assert all(len(fault.message) < 400 for fault in report.faults)


def test_a_line_can_fill_a_report_with_no_more_than_50_faults() -> None:
    lines = [{"messages": [3] * 900}, {"messages": 1}]
    report = check_structure(io.BytesIO("\n".join(map(json.dumps, lines)).encode()))
    assert [fault.line for fault in report.faults] == [1] * 50 + [2]
    assert report.faults[49].path == "messages[49]"


def test_faults_beyond_the_limit_are_counted() -> None:
    content = b'{"messages": 1}\n' * 30
    report = check_structure(io.BytesIO(content), max_faults=7)
    assert (len(report.faults), report.fault_count) == (7, 30)
    assert report.fault_codes == {"wrong_type": 30}
    assert not report.is_valid


def test_a_file_that_is_no_dataset_is_given_up_early() -> None:
    report = check_structure(io.BytesIO(b"x\n" * 20_000))
    assert report.fault_count == 10_000
    assert [note.code for note in report.notes] == ["stopped_early"]


@pytest.mark.parametrize(
    ("line", "path", "code"),
    [
        ({"mesages": []}, "", "unknown_format"),
        ({"prompt": "a", "completion": ""}, "completion", "empty"),
        ({"prompt": 1, "completion": "b"}, "prompt", "wrong_type"),
        ({"prompt": [{"role": "user", "content": "a"}], "completion": "b"}, "completion", "wrong_type"),
        ({"instruction": "", "output": "b"}, "instruction", "empty"),
        ({"instruction": "a", "input": 1, "output": "b"}, "input", "wrong_type"),
        ({"instruction": "a", "output": None}, "output", "wrong_type"),
        ({"conversations": []}, "conversations", "empty"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "conversations[0]", "last_not_assistant"),
        (
            {"conversations": [{"from": "bot", "value": "a"}, {"from": "gpt", "value": "b"}]},
            "conversations[0].from",
            "unknown_value",
        ),
        (
            {"conversations": [{"role": "user", "value": "a"}, {"from": "gpt", "value": "b"}]},
            "conversations[0].role",
            "unknown_field",
        ),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "rejected", "equal_answers"),
        ({"prompt": "a", "chosen": "", "rejected": "b"}, "chosen", "empty"),
        ({"chosen": "a", "rejected": "b"}, "prompt", "missing"),
    ],
)
def test_faults_of_the_other_formats(line: dict[str, object], path: str, code: str) -> None:
    report = check_structure(io.BytesIO(json.dumps(line).encode()))
    assert (report.faults[0].path, report.faults[0].code) == (path, code)


def _pair(**changes: object) -> dict[str, object]:
    pair: dict[str, object] = {
        "input": {"messages": [{"role": "user", "content": "a"}]},
        "preferred_output": [{"role": "assistant", "content": "b"}],
        "non_preferred_output": [{"role": "assistant", "content": "c"}],
    }
    return {**pair, **changes}


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"input": 1}, "input", "wrong_type"),
        ({"input": {"messages": []}}, "input.messages", "empty"),
        ({"input": {"messages": [{"role": "x", "content": "a"}]}}, "input.messages[0].role", "unknown_value"),
        ({"preferred_output": []}, "preferred_output", "empty"),
        (
            {"non_preferred_output": [{"role": "user", "content": "c"}]},
            "non_preferred_output[0].role",
            "unknown_value",
        ),
        (
            {"preferred_output": [{"role": "assistant", "content": "c"}]},
            "non_preferred_output[0]",
            "equal_answers",
        ),
        (
            {"input": {"messages": [{"role": "assistant", "content": "a"}]}},
            "input.messages[0]",
            "prompt_ends_with_answer",
        ),
    ],
)
def test_faults_of_preference_pairs(changes: dict[str, object], path: str, code: str) -> None:
    report = check_structure(io.BytesIO(json.dumps(_pair(**changes)).encode()))
    assert [(fault.path, fault.code) for fault in report.faults] == [(path, code)]


def test_a_file_for_the_other_method_is_refused(write_lines: Write) -> None:
    report = check_structure(write_lines(_pair()), method="supervised")
    assert [fault.code for fault in report.faults] == ["other_method"]
    assert check_structure(write_lines(_pair()), method="dpo").is_valid

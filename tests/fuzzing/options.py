"""Size of the fuzz run against the whole stack."""

from __future__ import annotations

import pytest

DEFAULT_CASES = 1_000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(
        "--fuzz-cases",
        type=int,
        default=DEFAULT_CASES,
        metavar="N",
        help=f"mutated requests to send to the whole stack (default: {DEFAULT_CASES})",
    )


@pytest.fixture(scope="session")
def fuzz_cases(request: pytest.FixtureRequest) -> int:
    """The number of mutated requests to send to the whole stack."""
    return int(request.config.getoption("fuzz_cases"))

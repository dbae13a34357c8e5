"""Fixtures and hooks for all tests, from the modules named here."""

pytest_plugins = [
    "pytester",
    "tests.embedded",
    "tests.models",
    "tests.criteria",
    "tests.compatibility",
    "tests.people",
    "tests.scheduling",
    "tests.durations",
    "tests.fuzzing.options",
    "tests.contract.client_environments",
]

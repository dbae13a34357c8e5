"""What every test may use; see the modules named here."""

pytest_plugins = [
    "pytester",
    "tests.embedded",
    "tests.models",
    "tests.criteria",
    "tests.compatibility",
    "tests.people",
]

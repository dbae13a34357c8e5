"""Filters of the console's templates."""

from __future__ import annotations

import pytest
from django.template import Context, Template

FILTERS = ("number", "count", "short_count", "size", "money", "duration")


@pytest.mark.parametrize("name", FILTERS)
def test_a_number_that_is_absent_is_a_dash(name: str) -> None:
    template = Template(f"{{% load console %}}{{{{ metrics.loss|{name} }}}} {{{{ metrics.none|{name} }}}}")
    assert template.render(Context({"metrics": {"none": None}})) == "— —"


def test_a_checkpoint_without_a_validation_file_has_dashes() -> None:
    template = Template("{% load console %}{{ metrics.valid_loss|number }} {{ metrics.train_loss|number }}")
    assert template.render(Context({"metrics": {"train_loss": 0.012345}})) == "— 0.01235"

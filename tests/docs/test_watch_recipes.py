"""The recipes and parameter tables on the page about watching."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from airflow_provider_chartmogul.triggers.opportunity import (
    OpportunityEventTrigger,
    OpportunityForecastCategoryEventTrigger,
)
from tests.support.airflow_versions import needs_watchers
from tests.support.docs_pages import REPOSITORY

TRIGGERS: dict[str, Any] = {
    trigger.__name__: trigger for trigger in (OpportunityEventTrigger, OpportunityForecastCategoryEventTrigger)
}
PAGE = (REPOSITORY / "docs/watch.md").read_text()
RECIPES = re.findall(rf"^\| .+ \| `((?:{'|'.join(TRIGGERS)})\(.*\))` \|$", PAGE, re.MULTILINE)


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 6


@needs_watchers
@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_is_a_trigger_that_airflow_can_store(recipe: str) -> None:
    trigger = eval(recipe, TRIGGERS)  # noqa: S307  # the page is ours
    name, arguments = trigger.serialize()
    assert TRIGGERS[name.rpartition(".")[2]](**arguments).serialize() == (name, arguments)


@pytest.mark.parametrize("name", TRIGGERS)
def test_the_table_of_each_trigger_has_its_parameters_and_defaults(name: str) -> None:
    (section,) = re.findall(rf"^## {name}\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| no \| .+ \|$", section, re.MULTILINE)
    parameters = inspect.signature(TRIGGERS[name]).parameters.values()
    assert [row[0] for row in rows] == [parameter.name for parameter in parameters]
    for (_, default), parameter in zip(rows, parameters, strict=True):
        if parameter.name != "events":
            assert default.strip("`") in (repr(parameter.default), repr(parameter.default).replace("'", '"'))

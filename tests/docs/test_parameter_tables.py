"""The parameter tables list each parameter with its default, and say correctly whether it is templated."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.operators import opportunity as operators
from airflow_provider_chartmogul.sensors import opportunity as sensors
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator
from airflow_provider_chartmogul.triggers import opportunity as triggers
from tests.support.docs_pages import REPOSITORY, prose_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# The tables of each page, in order, and the classes whose parameters they list.
TABLES: list[tuple[str, list[type[Any]]]] = [
    ("retrieve", [operators.RetrieveOpportunityOperator]),
    ("retrieve", [operators.RetrieveOpportunitiesOperator]),
    ("list-and-write", [operators.ListOpportunitiesOperator]),
    ("list-and-write", [operators.CreateOpportunityOperator]),
    ("list-and-write", [operators.UpdateOpportunityOperator]),
    ("list-and-write", [operators.DeleteOpportunityOperator]),
    ("export", [ChartMogulToObjectStorageOperator]),
    ("wait", [sensors.OpportunityForecastCategorySensor, sensors.OpportunityFieldSensor]),
    ("watch", [triggers.OpportunityEventTrigger]),
    ("watch", [triggers.OpportunityForecastCategoryEventTrigger]),
]
# Defaults that a page puts into words.
IN_WORDS = {"events": "all three", "deferrable": "`[operators] default_deferrable`"}
BASELINES = {"baseline_category", "baseline_value"}
OF_AIRFLOW = {"poke_interval", "timeout", "mode"}


def tables_of(page: str) -> Iterator[dict[str, list[str]]]:
    """Yield the tables with a column for templates: the cells of each row by the parameter."""
    text = prose_of(REPOSITORY / "docs" / f"{page}.md")
    for rows in re.findall(r"^\|.*\| Templated \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE):
        cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows.splitlines()]
        yield {found[1]: row for row in cells if (found := re.match(r"`(\w+)`", row[0]))}


def parameters_of(each: type[Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(inspect.unwrap(each.__init__)).parameters
    return {name: one for name, one in parameters.items() if name not in {"self", "kwargs"}}


def check(table: dict[str, list[str]], each: type[Any]) -> None:
    for name, parameter in parameters_of(each).items():
        _, _, default, templated, *_ = table[name]
        assert templated.startswith("yes" if name in getattr(each, "template_fields", ()) else "no"), name
        if parameter.default is parameter.empty:
            assert default == "required", name
        elif name not in BASELINES:
            expected = repr(parameter.default).replace("'", '"')
            assert default.partition(":")[0] in {IN_WORDS.get(name), f"`{expected}`", expected}, name


@pytest.mark.parametrize("page", dict.fromkeys(page for page, _ in TABLES))
def test_tables_have_each_parameter(page: str) -> None:
    of_page = [classes for name, classes in TABLES if name == page]
    tables = list(tables_of(page))
    if page == "wait":  # one table of both sensors, and one for each
        tables = [tables[0] | tables[1] | tables[2]]
    assert len(tables) == len(of_page)
    for table, classes in zip(tables, of_page, strict=True):
        known = {name for each in classes for name in parameters_of(each)}
        assert set(table) - OF_AIRFLOW == known
        for each in classes:
            check(table, each)

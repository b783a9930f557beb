"""The recipes of the page on waits are arguments that the sensor takes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_provider_chartmogul.sensors.opportunity import OpportunityFieldSensor
from tests.support.docs_pages import REPOSITORY

PAGE = (REPOSITORY / "docs" / "wait.md").read_text()
RECIPES = re.findall(r"^\| .+ \| `(field=[^`]+)`", PAGE, re.MULTILINE)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_sensor_takes_the_arguments(recipe: str) -> None:
    arguments: dict[str, Any] = eval(f"dict({recipe})")  # noqa: S307  # our own page
    sensor = OpportunityFieldSensor(task_id="wait", opportunity_uuid="{{ params.uuid }}", deferrable=True, **arguments)
    assert sensor.field == arguments["field"]


def test_there_are_recipes() -> None:
    assert len(RECIPES) > 5

"""What the event trigger may be given, and what Airflow keeps of it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID
from airflow_provider_chartmogul.triggers import _events as module
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryEventTrigger
from tests.support.airflow_versions import IS_AIRFLOW_3, needs_watchers

EVERYTHING = {
    "target_categories": ["committed", "won"],
    "opportunity_uuids": [EXAMPLE_OPPORTUNITY_UUID],
    "customer_uuid": "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7",
    "owner": "owner@example.com",
    "pipeline": "New Business",
    "pipeline_stage": "Discovery",
    "poll_interval": 30.0,
    "chartmogul_conn_id": "chartmogul_emea",
    "name": "emea",
}


@needs_watchers
@pytest.mark.parametrize("kwargs", [EVERYTHING, {}], ids=["everything", "defaults"])
def test_what_it_serializes_is_json_from_which_the_same_trigger_is_made(kwargs: dict[str, Any]) -> None:
    classpath, first = OpportunityForecastCategoryEventTrigger(**kwargs).serialize()
    assert classpath == "airflow_provider_chartmogul.triggers.opportunity.OpportunityForecastCategoryEventTrigger"
    assert first == json.loads(json.dumps(first))
    assert kwargs.items() <= first.items()
    assert OpportunityForecastCategoryEventTrigger(**first).serialize() == (classpath, first)


@needs_watchers
@pytest.mark.parametrize(
    "targets",
    [
        {"won", "lost"},
        ("lost", "won"),
        [ForecastCategory.WON, "lost"],
        (category for category in ("won", "lost")),
        frozenset({ForecastCategory.LOST, ForecastCategory.WON}),
    ],
    ids=lambda targets: type(targets).__name__,
)
def test_categories_in_any_collection_and_order_make_the_same_trigger(targets: Any) -> None:
    kwargs = OpportunityForecastCategoryEventTrigger(target_categories=targets).serialize()[1]
    assert kwargs["target_categories"] == ["lost", "won"]
    assert {type(category) for category in kwargs["target_categories"]} == {str}


@needs_watchers
def test_parsing_a_dag_again_in_another_process_makes_the_same_trigger() -> None:
    # Airflow tells triggers apart by what they serialize, in this order.
    script = (
        f"import json; from {module.__name__} import OpportunityForecastCategoryEventTrigger as T\n"
        "print(json.dumps(T(target_categories={'won', 'lost', 'committed'}, poll_interval=60).serialize()))"
    )
    command = [sys.executable, "-c", script]
    serialized = {
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]  # noqa: S603  # ours
        for _ in range(3)
    }
    assert len(serialized) == 1


@needs_watchers
@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"target_categories": "wno"}, "'wno' is not a forecast category"),
        ({"target_categories": []}, "target_categories: empty"),
        ({"target_categories": 5}, "target_categories: expected forecast categories, not 5"),
        ({"opportunity_uuids": ["../customers"]}, "opportunity_uuid: expected one like"),
        ({"opportunity_uuids": []}, "opportunity_uuids: expected one or more"),
        ({"opportunity_uuids": 5}, "opportunity_uuids: expected one or more"),
        ({"pipeline": "{{ var.value.pipeline }}"}, "pipeline: Airflow renders no templates"),
        ({"pipeline": "{% if true %}New{% endif %}"}, "pipeline: Airflow renders no templates"),
        ({"opportunity_uuids": "{{ var.value.uuid }}"}, "opportunity_uuids: Airflow renders no templates"),
        ({"chartmogul_conn_id": "{{ var.value.conn }}"}, "chartmogul_conn_id: Airflow renders no templates"),
        ({"name": "{{ var.value.name }}"}, "name: Airflow renders no templates"),
        ({"pipeline": 5}, "pipeline: expected text, not 5"),
        ({"chartmogul_conn_id": None}, "chartmogul_conn_id: expected text, not None"),
        ({"poll_interval": "sixty"}, "poll_interval: expected seconds above 0, not 'sixty'"),
        ({"poll_interval": 0}, "poll_interval: expected seconds above 0, not 0"),
        ({"poll_interval": float("nan")}, "poll_interval: expected seconds above 0, not nan"),
    ],
    ids=str,
)
def test_mistakes_are_refused_when_the_dag_is_parsed_in_a_way_that_spares_a_triggerer(
    kwargs: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        OpportunityForecastCategoryEventTrigger(**kwargs)
    assert isinstance(refusal.value, TypeError)


@needs_watchers
def test_a_subclass_is_serialized_as_what_it_is() -> None:
    class Subclass(OpportunityForecastCategoryEventTrigger):
        pass

    classpath, _ = Subclass().serialize()
    assert classpath.startswith(f"{__name__}.")
    assert classpath.endswith(".Subclass")


def test_before_airflow_3_it_says_what_it_needs() -> None:
    if IS_AIRFLOW_3:
        assert OpportunityForecastCategoryEventTrigger().name is None
    else:
        with pytest.raises(ValueError, match="needs Airflow 3"):
            OpportunityForecastCategoryEventTrigger()

"""DAGs that run because an opportunity was won, was created or moved to another stage."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.airflow_runs import Runs, wait_until

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from scripts.local_airflow import LocalAirflow

DAG_ID = "example_on_opportunity_won"
STAGES_DAG_ID = "example_on_stage_change"


def win(sandbox: Sandbox, count: int = 1) -> list[str]:
    still_open = [one["uuid"] for one in sandbox.opportunities if one["forecast_category"] == "pipeline"]
    for uuid in still_open[:count]:
        sandbox.set_opportunity(uuid, forecast_category="won")
    return still_open[:count]


def retrievals(runs: Runs, uuid: str) -> list[str]:
    """Return the finished runs that retrieved the opportunity."""
    return [
        run["dag_run_id"]
        for run in runs.of(DAG_ID)
        if run["state"] == "success"
        and any(one["uuid"] == uuid for one in runs.xcom(DAG_ID, run["dag_run_id"], "retrieve_opportunities"))
    ]


def saved(airflow: LocalAirflow, name: str = "chartmogul_opportunities_won") -> list[dict[str, Any]]:
    """Return the values that Airflow stores for a watcher of an asset."""
    (asset,) = [asset for asset in airflow.api("GET", "assets")["assets"] if asset["name"] == name]
    path = f"assets/{asset['id']}/state-store?limit=100"
    found: list[dict[str, Any]] = []
    while page := airflow.api("GET", f"{path}&offset={len(found)}")["asset_state_store"]:
        found += page
    return [entry["value"] for entry in found]


def is_delivered(airflow: LocalAirflow, uuid: str) -> bool:
    """Return whether the opportunity is saved as won, without an event that a restart would send again."""
    hexadecimal = uuid.replace("-", "")
    values = saved(airflow)
    is_won = any(hexadecimal in value.get("opportunities", {}).get('["won"]', "") for value in values)
    return is_won and not any(uuid in change for value in values for change in value.get("pending", ()))


@pytest.fixture
def baseline(airflow: LocalAirflow) -> None:
    """Wait until the first round is saved; the manifest comes last."""
    wait_until(lambda: any(value.get("has_baseline") for value in saved(airflow)), "the watcher has polled")


@pytest.mark.usefixtures("baseline")
def test_a_change_starts_a_run_also_when_no_triggerer_ran_at_the_time(
    airflow: LocalAirflow, runs: Runs, sandbox: Sandbox
) -> None:
    (uuid,) = win(sandbox)
    wait_until(lambda: retrievals(runs, uuid), "a run for the change has finished")
    wait_until(lambda: is_delivered(airflow, uuid), "the event is delivered")

    airflow.kill("triggerer")
    (uuid_meanwhile,) = win(sandbox)
    airflow.start("triggerer")
    wait_until(lambda: retrievals(runs, uuid_meanwhile), "a run for the change in between has finished")
    wait_until(lambda: is_delivered(airflow, uuid_meanwhile), "the event of the change in between is delivered")
    for won in (uuid, uuid_meanwhile):
        (run_id,) = retrievals(runs, won)
        assert sandbox.opportunity(won) in runs.xcom(DAG_ID, run_id, "retrieve_opportunities")
        assert f"{won} is won" in runs.xcom(DAG_ID, run_id, "celebrate")


@pytest.mark.usefixtures("baseline")
def test_changes_that_are_seen_at_once_all_start_a_run(runs: Runs, sandbox: Sandbox) -> None:
    for uuid in win(sandbox, 5):
        wait_until(partial(retrievals, runs, uuid), "a run for each change has finished")


def test_a_change_of_stage_and_a_new_opportunity_start_a_run(
    airflow: LocalAirflow, runs: Runs, sandbox: Sandbox
) -> None:
    wait_until(
        lambda: any(value.get("has_baseline") for value in saved(airflow, "chartmogul_stage_changes")),
        "the watcher has polled",
    )
    moved = next(
        one
        for one in sandbox.opportunities
        if (one["pipeline"], one["pipeline_stage"]) == ("New Business", "Discovery")
    )
    sandbox.set_opportunity(moved["uuid"], pipeline_stage="Evaluation")
    created = sandbox.add_opportunity(pipeline="New Business", pipeline_stage="Negotiation")

    def described() -> list[str]:
        ended = [run["dag_run_id"] for run in runs.of(STAGES_DAG_ID) if run["state"] == "success"]
        return [line for run_id in ended for line in runs.xcom(STAGES_DAG_ID, run_id, "describe")]

    wait_until(lambda: f"{created['uuid']}: new -> Negotiation" in described(), "a run describes the new one")
    wait_until(lambda: f"{moved['uuid']}: Discovery -> Evaluation" in described(), "a run describes the moved one")

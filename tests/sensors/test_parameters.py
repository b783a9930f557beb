"""Valid and rejected arguments of the sensors, as literals and as templates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowFailException,
    task,
)

from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.sensors.opportunity import OpportunityFieldSensor, OpportunityForecastCategorySensor
from tests.support.airflow_versions import HAS_TASK_STATE_STORE, IS_AIRFLOW_3
from tests.support.dag_runs import run_of
from tests.support.sensors import UUID, dag_with, move, sensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect
    from tests.support.dag_runs import DagRun

# Arguments that are accepted or rejected at parse time


def several(*names: str) -> Iterator[str]:
    yield from names


@pytest.mark.parametrize(
    "targets",
    [
        "won",
        ForecastCategory.WON,
        ["won"],
        ["committed", ForecastCategory.WON],
        ("won", "won"),
        {"won", "committed"},
        frozenset({ForecastCategory.WON}),
        {"won": "the keys count"},
    ],
)
@pytest.mark.parametrize("parameter", ["target_categories", "failure_categories"])
def test_categories_may_be_written_in_many_ways(parameter: str, targets: Any, sandbox: Sandbox) -> None:
    won = move(sandbox, "won")
    waiting = sensor(**{parameter: targets})
    json.dumps(getattr(waiting, parameter))
    if parameter == "target_categories":
        assert waiting.execute({}) == won
    else:
        with pytest.raises(AirflowFailException, match=f"{UUID}: forecast category is now won"):
            waiting.execute({})


@pytest.mark.parametrize(
    ("parameter", "given"),
    [
        ("target_values", ["{{ secret }}", "Won"]),
        ("failure_values", ["{{ secret }}"]),
        ("opportunity_uuids", ["{{ secret }}"]),
    ],
)
def test_values_of_a_mapped_task_stay_those_that_airflow_does_not_render(parameter: str, given: Any) -> None:
    # Airflow recognizes them by identity. A copy would execute the text of another task's output as a template.
    required = {"opportunity_uuids": [UUID], "target_values": ["Won"]}
    waiting = OpportunityFieldSensor(task_id="wait", field="pipeline_stage", **{**required, parameter: given})
    assert getattr(waiting, parameter) is given


def test_categories_may_come_from_a_generator(sandbox: Sandbox) -> None:
    won = move(sandbox, "won")
    assert sensor(target_categories=several("committed", "won")).execute({}) == won


def test_written_sets_are_the_same_at_every_parse() -> None:
    orders = {
        tuple(sensor(target_categories=set(order)).target_categories) for order in (("won", "lost"), ("lost", "won"))
    }
    assert orders == {("lost", "won")}


@pytest.mark.parametrize("parameter", ["target_categories", "failure_categories", "baseline_category"])
@pytest.mark.parametrize("value", ["wno", "Won", "best case", " won", 5, True])
def test_a_mistyped_category_is_refused_when_the_dag_is_parsed(parameter: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{parameter}: .*forecast categor"):
        sensor(**{parameter: value})


@pytest.mark.parametrize("parameter", ["target_categories", "failure_categories"])
@pytest.mark.parametrize(
    "value",
    [["won", "wno"], ("wno",), {"wno"}, ["{{ params.target }}", "wno"], [None], [["won"]]],
    ids=str,
)
def test_a_mistyped_category_among_others_is_refused_when_the_dag_is_parsed(parameter: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{parameter}: .*forecast categor"):
        sensor(**{parameter: value})


@pytest.mark.parametrize("parameter", ["target_categories", "failure_categories"])
def test_a_mistyped_category_of_a_generator_is_refused_when_the_dag_is_parsed(parameter: str) -> None:
    with pytest.raises(ValueError, match=f"{parameter}: 'wno' is not a forecast category"):
        sensor(**{parameter: several("won", "wno")})


@pytest.mark.parametrize("value", [[], (), set(), {}, ""])
def test_no_target_at_all_is_refused_when_the_dag_is_parsed(value: Any) -> None:
    with pytest.raises(ValueError, match="target_categories: "):
        sensor(target_categories=value)


@pytest.mark.parametrize(
    ("targets", "failures"), [("won", "won"), (["won", "lost"], ForecastCategory.LOST), ({"won"}, ("lost", "won"))]
)
def test_a_target_that_is_a_failure_too_is_refused_when_the_dag_is_parsed(targets: Any, failures: Any) -> None:
    with pytest.raises(ValueError, match="in target_categories and in failure_categories"):
        sensor(target_categories=targets, failure_categories=failures)


@pytest.mark.parametrize("value", [["won"], ("won",), {"won"}, [], ""])
def test_a_change_is_measured_from_one_category(value: Any) -> None:
    with pytest.raises(ValueError, match="baseline_category: "):
        sensor(baseline_category=value)


@pytest.mark.parametrize("option", ["start_from_trigger", "end_from_trigger"])
def test_what_acts_only_in_the_triggerer_is_refused_elsewhere(option: str) -> None:
    with pytest.raises(ValueError, match="act only with deferrable=True"):
        sensor(target_categories="won", **{option: True})


def test_reschedule_mode_needs_something_that_keeps_the_first_poll() -> None:
    def construct() -> OpportunityForecastCategorySensor:
        return sensor(mode="reschedule", failure_categories="lost")

    if HAS_TASK_STATE_STORE:
        assert construct().mode == "reschedule"
    else:
        with pytest.raises(
            ValueError, match=r"In reschedule mode Airflow \S+ keeps no baseline.*target_categories or baseline"
        ):
            construct()
    for options in ({"target_categories": "won"}, {"baseline_category": "best_case"}):
        assert sensor(mode="reschedule", **options).mode == "reschedule"
    assert sensor(mode="poke").mode == "poke"


def test_nothing_is_loaded_when_the_dag_is_parsed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT")
    dag_with(chartmogul_conn_id="nowhere")
    assert sandbox.requests == []


# Templates


def run_with(conf: dict[str, Any], **options: Any) -> DagRun:
    params = {"target": "won", "failure": "lost", "baseline": "best_case", "uuid": UUID, "region": "emea"}
    return run_of(lambda: dag_with(params=params, **options), conf)


def test_every_parameter_is_templated(sandbox: Sandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT")
    connect("crm_emea")
    won = move(sandbox, "won")
    outcome = run_with(
        {"target": "won"},
        opportunity_uuid="{{ params.uuid }}",
        target_categories="{{ params.target }}",
        failure_categories=["{{ params.failure }}"],
        baseline_category="{{ params.baseline }}",
        chartmogul_conn_id="crm_{{ params.region }}",
    ).start("wait")
    assert outcome.state == "success"
    assert outcome.result == won
    assert outcome.link == f"https://app.chartmogul.com/#/customers/{won['customer_uuid']}"
    if IS_AIRFLOW_3:
        assert outcome.xcoms["_link_ChartMogulCustomerLink"] == outcome.link


def test_a_template_may_stand_among_literals(sandbox: Sandbox) -> None:
    won = move(sandbox, "won")
    options = {"target_categories": ["committed", "{{ params.target }}"], "failure_categories": "{{ params.failure }}"}
    assert run_with({}, **options).start("wait").result == won


def test_a_native_template_may_be_a_list(sandbox: Sandbox) -> None:
    won = move(sandbox, "won")

    def build() -> DAG:
        return dag_with(
            params={"targets": ["committed", "won"]},
            render_template_as_native_obj=True,
            target_categories="{{ params.targets }}",
        )

    assert run_of(build).start("wait").result == won


@pytest.mark.parametrize("returned", ["won", ["committed", "won"]])
def test_targets_may_be_the_result_of_another_task(returned: Any, sandbox: Sandbox) -> None:
    won = move(sandbox, "won")

    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:

            @task
            def choose() -> Any:
                return returned

            sensor(target_categories=choose())
        return dag

    run = run_of(build)
    run.start("choose")
    assert run.start("wait").result == won


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"target": "wno"}, "target_categories: 'wno' is not a forecast category"),
        ({"target": ""}, "target_categories: '' is not a forecast category"),
        ({"target": "['won']"}, "target_categories: .* is not a forecast category"),
        ({"failure": "lots"}, "failure_categories: 'lots' is not a forecast category"),
        ({"baseline": "best"}, "baseline_category: 'best' is not a forecast category"),
        ({"baseline": ""}, "baseline_category: '' is not a forecast category"),
        ({"failure": "won"}, "won: in target_categories and in failure_categories"),
        ({"uuid": "../customers"}, "opportunity_uuid: expected one like"),
    ],
)
def test_what_a_template_mistypes_fails_without_retry_or_request(
    conf: dict[str, str], message: str, sandbox: Sandbox
) -> None:
    outcome = run_with(
        conf,
        opportunity_uuid="{{ params.uuid }}",
        target_categories=["{{ params.target }}"],
        failure_categories="{{ params.failure }}",
        baseline_category="{{ params.baseline }}",
        retries=3,
    ).start("wait")
    assert outcome.state == "failed"
    with pytest.raises(AirflowFailException, match=message):
        raise outcome.error or AssertionError
    assert sandbox.requests == []


def test_targets_may_be_a_param_of_the_dag(sandbox: Sandbox) -> None:
    won = move(sandbox, "won")

    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            sensor(target_categories=dag.param("targets", ["won"]), baseline_category=dag.param("from", "lost"))
        return dag

    assert run_of(build).start("wait").result == won


@pytest.mark.parametrize("returned", [[], 5, ["wno"], [None]])
def test_what_another_task_mistypes_fails_without_retry_or_request(returned: Any, sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:

            @task
            def choose() -> Any:
                return returned

            sensor(target_categories=choose(), retries=3)
        return dag

    run = run_of(build)
    run.start("choose")
    outcome = run.start("wait")
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert "target_categories" in str(outcome.error)
    assert sandbox.requests == []


def test_it_can_be_mapped(sandbox: Sandbox) -> None:
    won = move(sandbox, "won")
    uuids = [opportunity["uuid"] for opportunity in sandbox.opportunities]

    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            OpportunityForecastCategorySensor.partial(
                task_id="wait", target_categories=["won"], mode="reschedule"
            ).expand(opportunity_uuid=uuids)
        return dag

    run = run_of(build)
    assert run.start("wait", map_index=0).result == won
    assert run.start("wait", map_index=1).state == "up_for_reschedule"

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, AirflowFailException, task

from airflow_provider_chartmogul.operators.opportunity import CreateOpportunityOperator
from airflow_provider_chartmogul.opportunity import OpportunityType
from tests.support.dag_runs import run_of
from tests.support.opportunities import NEW

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs


def create(opportunity: Any = None, **options: Any) -> CreateOpportunityOperator:
    return CreateOpportunityOperator(**{"task_id": "create", "opportunity": opportunity or NEW, **options})


def test_it_returns_the_object_of_the_server(sandbox: Sandbox) -> None:
    result = create({**NEW, "type": OpportunityType.ONE_TIME, "win_likelihood": 0}).execute({})
    assert result == sandbox.opportunities[0]
    assert result.items() >= {**NEW, "type": "one-time", "win_likelihood": 0}.items()


def test_optional_fields_that_are_none_are_not_sent(sandbox: Sandbox) -> None:
    create({**NEW, "type": None, "custom": None}).execute({})
    assert "type" not in sandbox.requests[-1].body
    assert "custom" not in sandbox.requests[-1].body


PARAMS = {**NEW, "type": "arr", "forecast_category": "best_case", "win_likelihood": 40}
TEMPLATES = {name: f"{{{{ params.{name} }}}}" for name in PARAMS}


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    "opportunity",
    [
        pytest.param({**TEMPLATES, "custom": "{{ params.custom | tojson }}"}, id="each value"),
        pytest.param({**TEMPLATES, "custom": {"source": "{{ params.custom.source }}", "seats": 3}}, id="nested value"),
        pytest.param("{{ params.whole | tojson }}", id="whole mapping"),
        pytest.param(json.dumps({**PARAMS, "pipeline": "{{ params.pipeline }}"}), id="JSON text"),
    ],
)
def test_mappings_are_templated(opportunity: Any, native: bool, sandbox: Sandbox) -> None:  # noqa: FBT001
    def build() -> DAG:
        params = {**PARAMS, "whole": PARAMS}
        with DAG("dag", schedule=None, params=params, render_template_as_native_obj=native) as dag:
            create(opportunity)
        return dag

    outcome = run_of(build).start("create")
    assert outcome.state == "success"
    assert outcome.result == sandbox.opportunities[0]
    assert outcome.result.items() >= PARAMS.items()
    assert outcome.link == f"https://app.chartmogul.com/#/customers/{NEW['customer_uuid']}"


@pytest.mark.usefixtures("sandbox")
def test_it_takes_values_of_other_tasks() -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None, default_args={"owner": "data-team"}) as dag:

            @task
            def amount() -> int:
                return 77

            @task
            def lead() -> dict[str, Any]:
                return {**NEW, "currency": "GBP"}

            create({**NEW, "amount_in_cents": amount()}, task_id="of_value")
            create(lead(), task_id="of_mapping")
        return dag

    run = run_of(build)
    for task_id in ("amount", "lead"):
        assert run.start(task_id).state == "success"
    assert run.start("of_value").result["amount_in_cents"] == 77
    assert run.start("of_mapping").result["currency"] == "GBP"


@pytest.mark.usefixtures("sandbox")
def test_it_can_be_mapped() -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:

            @task
            def leads() -> list[dict[str, Any]]:
                return [{**NEW, "amount_in_cents": amount} for amount in (1, 2)]

            CreateOpportunityOperator.partial(task_id="create").expand(opportunity=leads())
        return dag

    run = run_of(build)
    assert run.start("leads").state == "success"
    results = [run.start("create", map_index=index).result for index in range(2)]
    assert [result["amount_in_cents"] for result in results] == [1, 2]


def test_the_owner_of_the_task_is_not_the_owner_of_the_opportunity() -> None:
    with DAG("dag", schedule=None, default_args={"owner": "data-team"}):
        assert create().owner == "data-team"
        with pytest.raises((TypeError, AirflowException), match="opportunity"):
            CreateOpportunityOperator(task_id="x")  # type: ignore[call-arg]  # that is the point


WRONG = {
    **{name: NEW[name] for name in NEW if name != "estimated_close_date"},
    "pipeline": None,
    "pipeline_stage": " ",
    "amount_in_cents": 9.99,
    "type": "weekly",
    "stage": "Discovery",
    "custom": {"a": [], "b": 1},
}


@pytest.mark.parametrize(
    "opportunity",
    [
        pytest.param({**WRONG, "currency": "{{ params.currency }}", "custom": {"a": [], "b": "{{ ds }}"}}, id="dict"),
        pytest.param(json.dumps(WRONG), id="JSON text"),
    ],
)
def test_literals_are_checked_when_the_dag_is_parsed(opportunity: Any) -> None:
    with pytest.raises(ValueError, match="amount_in_cents") as raised:
        create(opportunity)
    for problem in (
        "estimated_close_date: missing.",
        "pipeline: missing.",
        "pipeline_stage: missing.",
        "amount_in_cents: ",
        "type: ",
        "custom['a']: ",
        "'stage': not one of customer_uuid, owner, pipeline, ",
    ):
        assert problem in str(raised.value)
    assert "currency: " not in str(raised.value)
    assert "custom['b']" not in str(raised.value)


@pytest.mark.parametrize("opportunity", ["ada@example.com", "[]", 5, [NEW]])
def test_anything_but_a_mapping_is_refused_without_being_shown(opportunity: Any) -> None:
    with pytest.raises(ValueError, match=r"^opportunity: ") as raised:
        create(opportunity)
    assert "ada@" not in str(raised.value)


def test_templates_are_checked_when_rendered(sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None, params={"amount": 9.99, "currency": "€", "none": ""}) as dag:
            create(
                {
                    **NEW,
                    "amount_in_cents": "{{ params.amount }}",
                    "currency": "{{ params.currency }}",
                    "owner": "{{ params.none }}",
                },
                retries=3,
            )
        return dag

    outcome = run_of(build).start("create")
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert "owner: missing. amount_in_cents: expected a whole number, not '9.99'. currency: " in str(outcome.error)
    assert sandbox.requests == []


def test_a_template_that_renders_to_no_json_fails_without_retry(sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None, params={"whole": NEW}) as dag:
            create("{{ params.whole }}", retries=3)
        return dag

    outcome = run_of(build).start("create")
    assert outcome.state == "failed"
    assert "opportunity: the text is not JSON; end a template of a dict with | tojson" in str(outcome.error)
    assert "ada@" not in str(outcome.error)
    assert sandbox.requests == []


def test_a_date_can_be_given_as_one(sandbox: Sandbox) -> None:
    result = create({**NEW, "estimated_close_date": pendulum.date(2030, 2, 1)}).execute({})
    assert result["estimated_close_date"] == "2030-02-01"
    assert len(sandbox.opportunities) == 4


def test_the_connection_can_be_chosen(connect: Connect, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT")
    connect("other")
    assert create(chartmogul_conn_id="other").execute({}) == sandbox.opportunities[0]


@pytest.mark.usefixtures("sandbox")
def test_its_log_line_has_what_helps_and_nothing_private(logs: Logs) -> None:
    result = create().execute({})
    assert f"Opportunity {result['uuid']}: forecast category pipeline, stage Discovery." in logs.messages
    assert "ada@example.com" not in logs.everything.replace("%40", "@")
    assert "120000" not in logs.everything


def test_it_can_be_copied() -> None:
    assert copy.deepcopy(create()).opportunity == NEW


def test_white_space_around_the_idempotency_attribute_is_trimmed(sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            create(idempotency_attribute="{{ ' airflow_key ' }}")
        return dag

    custom = run_of(build).start("create").result["custom"]
    assert list(custom) == [*NEW["custom"], "airflow_key"]
    assert sandbox.opportunities[0]["custom"] == custom

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, AirflowFailException, task

from airflow_provider_chartmogul.operators.opportunity import CreateOpportunityOperator
from airflow_provider_chartmogul.opportunity import OpportunityType
from tests.support.dag_runs import run_of
from tests.support.opportunities import FIELDS, STORED

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs


def create(**options: Any) -> CreateOpportunityOperator:
    return CreateOpportunityOperator(**{"task_id": "create", **FIELDS, **options})


def test_it_returns_the_object_of_the_server(sandbox: Sandbox) -> None:
    result = create(type=OpportunityType.ONE_TIME, win_likelihood=0).execute({})
    assert result == sandbox.opportunities[0]
    assert result.items() >= {**STORED, "type": "one-time", "win_likelihood": 0}.items()


TEMPLATES: dict[str, Any] = {
    "customer_uuid": "{{ params.customer_uuid }}",
    "opportunity_owner": "{{ params.owner }}",
    "pipeline": "{{ params.pipeline }}",
    "pipeline_stage": "{{ params.pipeline_stage }}",
    "estimated_close_date": "{{ params.estimated_close_date }}",
    "amount_in_cents": "{{ params.amount_in_cents }}",
    "currency": "{{ params.currency }}",
    "type": "{{ params.type }}",
    "forecast_category": "{{ params.forecast_category }}",
    "win_likelihood": "{{ params.win_likelihood }}",
}
PARAMS = {**STORED, "type": "arr", "forecast_category": "best_case", "win_likelihood": 40}


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("custom", "expected"),
    [
        ("{{ params.custom | tojson }}", {"source": "product", "seats": 3}),
        ({"source": "{{ params.custom.source }}", "seats": 3}, {"source": "product", "seats": 3}),
    ],
)
def test_all_fields_are_templated(
    native: bool,  # noqa: FBT001
    custom: Any,
    expected: dict[str, Any],
    sandbox: Sandbox,
) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None, params=PARAMS, render_template_as_native_obj=native) as dag:
            create(**TEMPLATES, custom=custom)
        return dag

    outcome = run_of(build).start("create")
    assert outcome.state == "success"
    assert outcome.result == sandbox.opportunities[0]
    assert outcome.result.items() >= {**PARAMS, "custom": expected}.items()
    assert outcome.link == f"https://app.chartmogul.com/#/customers/{STORED['customer_uuid']}"


@pytest.mark.usefixtures("sandbox")
def test_it_takes_values_of_other_tasks_and_can_be_mapped() -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None, default_args={"owner": "data-team"}) as dag:

            @task
            def amount() -> int:
                return 77

            fixed = {name: FIELDS[name] for name in FIELDS if name not in ("amount_in_cents", "currency")}
            CreateOpportunityOperator.partial(task_id="create", amount_in_cents=amount(), **fixed).expand(
                currency=["USD", "GBP"]
            )
        return dag

    run = run_of(build)
    assert run.start("amount").state == "success"
    results = [run.start("create", map_index=index).result for index in range(2)]
    assert [result["currency"] for result in results] == ["USD", "GBP"]
    assert {result["amount_in_cents"] for result in results} == {77}
    assert {result["owner"] for result in results} == {"ada@example.com"}


def test_the_owner_of_the_task_is_not_the_owner_of_the_opportunity() -> None:
    with DAG("dag", schedule=None, default_args={"owner": "data-team"}):
        assert create().owner == "data-team"
        with pytest.raises((TypeError, AirflowException), match="opportunity_owner"):
            CreateOpportunityOperator(
                **{"task_id": "x", **{name: FIELDS[name] for name in FIELDS if name != "opportunity_owner"}}
            )


def test_literals_are_checked_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="amount_in_cents") as raised:
        create(amount_in_cents=9.99, currency="{{ params.currency }}", type="weekly", custom={"a": [], "b": "{{ ds }}"})
    for problem in ("amount_in_cents: ", "type: ", "custom['a']: "):
        assert problem in str(raised.value)
    assert "currency" not in str(raised.value)
    with pytest.raises(ValueError, match="pipeline: missing"):
        create(pipeline=None)


def test_templates_are_checked_when_rendered(sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None, params={"amount": 9.99, "currency": "€"}) as dag:
            create(amount_in_cents="{{ params.amount }}", currency="{{ params.currency }}", retries=3)
        return dag

    outcome = run_of(build).start("create")
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert "amount_in_cents: expected a whole number, not '9.99'. currency: " in str(outcome.error)
    assert sandbox.requests == []


def test_a_date_can_be_given_as_one(sandbox: Sandbox) -> None:
    assert create(estimated_close_date=pendulum.date(2030, 2, 1)).execute({})["estimated_close_date"] == "2030-02-01"
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
    assert copy.deepcopy(create()).custom == FIELDS["custom"]

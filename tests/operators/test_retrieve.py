from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_chartmogul.exceptions import ChartMogulUnavailableError
from airflow_provider_chartmogul.operators.opportunity import RetrieveOpportunityOperator
from airflow_provider_chartmogul.opportunity import Opportunity
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault
from tests.hooks.test_requests import NOT_UUIDS
from tests.support.airflow_versions import IS_AIRFLOW_3
from tests.support.dag_runs import run_of

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs

ODD_OPPORTUNITY = (
    '{"uuid":"4ee13ca4-e7fe-11ee-fa7f-f303abf41acc","customer_uuid":null,"owner":null,"pipeline":"Köln 🎉",'
    '"estimated_close_date":null,"amount_in_cents":123456789012345678901234567890,"arr":0.1,"rate":1e-09,"type":"new",'
    '"forecast_category":"unheard_of","custom":{"a":[{"b":null}],"":true},"win_likelihood":-0.5,"zz":[],"aa":{}}'
)


def retrieve(**options: Any) -> RetrieveOpportunityOperator:
    options = {"task_id": "retrieve", "opportunity_uuid": EXAMPLE_OPPORTUNITY_UUID, **options}
    return RetrieveOpportunityOperator(**options)


def dag_with(**options: Any) -> DAG:
    params = options.pop("params", {})
    with DAG("dag", schedule=None, params=params) as dag:
        retrieve(**options)
    return dag


def test_it_returns_the_json_of_the_server(sandbox: Sandbox) -> None:
    expected = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert json.dumps(retrieve().execute({})) == json.dumps(expected)
    (request,) = sandbox.requests
    assert (request.method, request.path) == ("GET", f"/v1/opportunities/{EXAMPLE_OPPORTUNITY_UUID}")


def test_it_changes_nothing_of_what_it_does_not_know(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body=ODD_OPPORTUNITY))
    found = retrieve().execute({})
    assert json.dumps(found, ensure_ascii=False, separators=(",", ":")) == ODD_OPPORTUNITY


def test_xcom_has_the_json_of_the_server(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body=ODD_OPPORTUNITY))
    outcome = run_of(dag_with).start("retrieve")
    assert outcome.state == "success"
    assert json.dumps(outcome.result, ensure_ascii=False, separators=(",", ":")) == ODD_OPPORTUNITY


def test_its_log_line_has_what_helps_and_nothing_private(sandbox: Sandbox, logs: Logs) -> None:
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, owner="ada@example.com", amount_in_cents=987654321)
    retrieve().execute({})
    assert (
        logs.messages.count(f"Opportunity {EXAMPLE_OPPORTUNITY_UUID}: forecast category best_case, stage Discovery.")
        == 1
    )
    assert "ada@example.com" not in logs.everything
    assert "987654321" not in logs.everything


@pytest.mark.parametrize("uuid", NOT_UUIDS)
def test_a_malformed_uuid_fails_without_retry_or_request(uuid: Any, sandbox: Sandbox) -> None:
    with pytest.raises(AirflowFailException, match="opportunity_uuid: expected one like"):
        retrieve(opportunity_uuid=uuid).execute({})
    assert sandbox.requests == []


def test_a_bad_connection_fails_without_retry(connect: Connect) -> None:
    connect(extra={"timeout": "soon"})
    with pytest.raises(AirflowFailException, match="'chartmogul_default', extra field timeout"):
        retrieve().execute({})


def test_both_parameters_are_templated(sandbox: Sandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT")
    connect("crm_emea")
    wanted = sandbox.opportunities[1]

    def build() -> DAG:
        return dag_with(
            params={"uuid": "to be overwritten", "region": "emea"},
            opportunity_uuid="{{ params.uuid }}",
            chartmogul_conn_id="crm_{{ params.region }}",
        )

    outcome = run_of(build, {"uuid": wanted["uuid"]}).start("retrieve")
    assert outcome.state == "success"
    assert outcome.result == wanted


def test_it_can_be_mapped(sandbox: Sandbox) -> None:
    uuids = [opportunity["uuid"] for opportunity in sandbox.opportunities]

    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            RetrieveOpportunityOperator.partial(task_id="retrieve").expand(opportunity_uuid=uuids)
        return dag

    run = run_of(build)
    for index, expected in enumerate(sandbox.opportunities):
        outcome = run.start("retrieve", map_index=index)
        assert outcome.result == expected
        assert outcome.link == f"https://app.chartmogul.com/#/customers/{expected['customer_uuid']}"


def test_it_takes_and_gives_taskflow_values(sandbox: Sandbox) -> None:
    wanted = sandbox.opportunities[2]

    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:

            @task
            def choose() -> str:
                return str(wanted["uuid"])

            @task
            def use(payload: dict[str, Any]) -> int | None:
                return Opportunity.from_json(payload).amount_in_cents

            use(retrieve(opportunity_uuid=choose()).output)  # type: ignore[arg-type]  # it gets the value
        return dag

    run = run_of(build)
    assert run.start("choose").state == "success"
    assert run.start("retrieve").result == wanted
    assert run.start("use").result == wanted["amount_in_cents"]


def test_a_permanent_error_uses_up_no_retries(sandbox: Sandbox) -> None:
    sandbox.remove_opportunity(EXAMPLE_OPPORTUNITY_UUID)
    outcome = run_of(lambda: dag_with(retries=3)).start("retrieve")
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert f'Opportunity "{EXAMPLE_OPPORTUNITY_UUID}" does not exist' in str(outcome.error)


@pytest.mark.usefixtures("waits")
def test_a_transient_error_is_retried_by_airflow(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=503, times=None))
    run = run_of(lambda: dag_with(retries=1))
    outcome = run.start("retrieve")
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, ChartMogulUnavailableError)
    sandbox.clear_faults()
    outcome = run.start("retrieve")
    assert outcome.state == "success"
    assert outcome.result == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)


@pytest.mark.usefixtures("waits")
def test_a_transient_error_fails_a_task_without_retries(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=503, times=None))
    assert run_of(dag_with).start("retrieve").state == "failed"


def test_its_link_leads_to_the_customer(sandbox: Sandbox) -> None:
    outcome = run_of(dag_with).start("retrieve")
    customer = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)["customer_uuid"]
    assert outcome.link == f"https://app.chartmogul.com/#/customers/{customer}"
    if IS_AIRFLOW_3:
        assert outcome.xcoms["_link_ChartMogulCustomerLink"] == outcome.link


def test_nothing_is_loaded_when_the_dag_is_parsed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT")
    dag_with(chartmogul_conn_id="nowhere")
    assert sandbox.requests == []

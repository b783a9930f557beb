from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_chartmogul.exceptions import ChartMogulUnavailableError
from airflow_provider_chartmogul.operators.opportunity import RetrieveOpportunitiesOperator, RetrieveOpportunityOperator
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault
from tests.support.dag_runs import run_of

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs

UNKNOWN = "00000000-0000-1000-8000-000000000000"


def retrieve(opportunity_uuids: Any, **options: Any) -> RetrieveOpportunitiesOperator:
    return RetrieveOpportunitiesOperator(task_id="retrieve", opportunity_uuids=opportunity_uuids, **options)


def test_it_returns_the_json_of_each_in_the_order_given(sandbox: Sandbox, logs: Logs) -> None:
    wanted = sandbox.opportunities[::-1]
    assert retrieve([opportunity["uuid"] for opportunity in wanted]).execute({}) == wanted
    assert "Opportunities retrieved: 3." in logs.messages


def test_an_empty_list_sends_nothing(sandbox: Sandbox) -> None:
    empties: list[Any] = [[], "[]", " [ ] "]
    for empty in empties:
        assert retrieve(empty).execute({}) == []
    assert sandbox.requests == []


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    "template",
    ["{{ params.uuids }}", "{{ params.uuids | tojson }}", "{{ params.uuids | join(', ') }}", ["{{ params.uuids[0] }}"]],
)
def test_the_uuids_are_templated(template: Any, native: bool, sandbox: Sandbox) -> None:  # noqa: FBT001
    uuids = [opportunity["uuid"] for opportunity in sandbox.opportunities]

    def build() -> DAG:
        with DAG("dag", schedule=None, params={"uuids": uuids}, render_template_as_native_obj=native) as dag:
            retrieve(template)
        return dag

    result = run_of(build).start("retrieve").result
    assert result == (sandbox.opportunities[:1] if isinstance(template, list) else sandbox.opportunities)


def test_they_can_come_from_other_tasks_mapped_ones_too(sandbox: Sandbox) -> None:
    uuids = [opportunity["uuid"] for opportunity in sandbox.opportunities]

    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:

            @task
            def choose() -> list[str]:
                return uuids

            @task
            def same(uuid: str) -> str:
                return uuid

            retrieve(choose())
            RetrieveOpportunitiesOperator(
                task_id="retrieve_mapped",
                opportunity_uuids=same.expand(uuid=uuids),  # type: ignore[arg-type]  # it gets the values
            )
        return dag

    run = run_of(build)
    run.start("choose")
    assert run.start("retrieve").result == sandbox.opportunities
    for index in range(3):
        run.start("same", map_index=index)
    assert run.start("retrieve_mapped").result == sandbox.opportunities


@pytest.mark.parametrize(
    ("uuids", "message"),
    [
        ([EXAMPLE_OPPORTUNITY_UUID, "4ee13ca4"], "opportunity_uuid: expected one like .* not '4ee13ca4'"),
        ("", "opportunity_uuids: expected UUIDs, not empty text; an empty list is written"),
        # A template of one of them rendered to nothing.
        (f"{EXAMPLE_OPPORTUNITY_UUID}, ", "opportunity_uuid: expected one like .* not ''"),
        ("None", "opportunity_uuid: expected one like"),
        (None, "opportunity_uuids: expected UUIDs, not None"),
        (5, "opportunity_uuids: expected UUIDs, not 5"),
        ({EXAMPLE_OPPORTUNITY_UUID: "x"}, "opportunity_uuids: expected UUIDs, not {"),
        ([{"owner": "ada@example.com"}], "opportunity_uuid: expected one like .* not {'owner': '<email>'}"),
        (["..", "{{ ds }}"], "opportunity_uuid: expected one like"),
    ],
)
def test_a_malformed_uuid_fails_without_retry_or_request(uuids: Any, message: str, sandbox: Sandbox) -> None:
    with pytest.raises(AirflowFailException, match=message):
        retrieve(uuids).execute({})
    assert sandbox.requests == []


def test_all_missing_ones_are_named(sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            retrieve([EXAMPLE_OPPORTUNITY_UUID, UNKNOWN], retries=3)
        return dag

    outcome = run_of(build).start("retrieve")
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert UNKNOWN in str(outcome.error)
    assert EXAMPLE_OPPORTUNITY_UUID not in str(outcome.error)
    assert sandbox.requests


@pytest.mark.usefixtures("waits")
def test_a_transient_error_is_left_to_airflows_retries(sandbox: Sandbox, connect: Connect) -> None:
    connect(extra={"max_retries": 0})
    sandbox.inject_fault(Fault("status", status=503, times=None))
    with pytest.raises(ChartMogulUnavailableError):
        retrieve([EXAMPLE_OPPORTUNITY_UUID]).execute({})


def test_the_connection_can_be_chosen(connect: Connect, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT")
    connect("other")
    result = retrieve([EXAMPLE_OPPORTUNITY_UUID], chartmogul_conn_id="other").execute({})
    assert json.dumps(result) == json.dumps([sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)])


def test_it_has_no_link_since_it_returns_several() -> None:
    assert retrieve([]).operator_extra_links == ()
    assert RetrieveOpportunityOperator.template_fields == ("opportunity_uuid", "chartmogul_conn_id")
    assert RetrieveOpportunitiesOperator.template_fields == ("opportunity_uuids", "chartmogul_conn_id")

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_chartmogul.operators.opportunity import DeleteOpportunityOperator
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault
from tests.support.airflow_versions import HAS_TASK_STATE_STORE
from tests.support.dag_runs import run_of

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs


def dag(**options: Any) -> DAG:
    with DAG("dag", schedule=None, params={"uuid": EXAMPLE_OPPORTUNITY_UUID}) as dag:
        DeleteOpportunityOperator(task_id="delete", opportunity_uuid="{{ params.uuid }}", **options)
    return dag


def is_there(sandbox: Sandbox) -> bool:
    return any(opportunity["uuid"] == EXAMPLE_OPPORTUNITY_UUID for opportunity in sandbox.opportunities)


def test_it_deletes_the_opportunity_and_returns_nothing(sandbox: Sandbox) -> None:
    outcome = run_of(dag).start("delete")
    assert (outcome.state, outcome.result) == ("success", None)
    assert not is_there(sandbox)
    assert len(sandbox.opportunities) == 2


def test_a_missing_one_fails_without_retry(sandbox: Sandbox) -> None:
    sandbox.remove_opportunity(EXAMPLE_OPPORTUNITY_UUID)
    outcome = run_of(lambda: dag(retries=3)).start("delete")
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert "HTTP 404" in str(outcome.error)


def test_a_missing_one_can_be_ignored(sandbox: Sandbox) -> None:
    sandbox.remove_opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert run_of(lambda: dag(ignore_missing=True)).start("delete").state == "success"


@pytest.mark.usefixtures("waits")
def test_a_lost_response_does_no_harm(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("reset", method="DELETE", after_acting=True))
    assert run_of(dag).start("delete").state == "success"
    assert not is_there(sandbox)


def test_a_retry_of_the_task_takes_what_an_earlier_try_deleted(sandbox: Sandbox, connect: Connect) -> None:
    connect(extra={"max_retries": 0})
    sandbox.inject_fault(Fault("reset", method="DELETE", after_acting=True))
    run = run_of(lambda: dag(retries=1))
    assert run.start("delete").state == "up_for_retry"
    assert not is_there(sandbox)
    assert run.start("delete").state == "success"


def test_a_definite_404_stays_a_failure_when_the_task_is_cleared(sandbox: Sandbox) -> None:
    sandbox.remove_opportunity(EXAMPLE_OPPORTUNITY_UUID)
    run = run_of(lambda: dag(retries=1))
    assert run.start("delete").state == "failed"
    run.clear("delete")
    outcome = run.start("delete")
    assert outcome.state == "failed"
    assert "HTTP 404" in str(outcome.error)


def test_a_retry_after_a_clear_takes_what_the_try_before_it_deleted(sandbox: Sandbox, connect: Connect) -> None:
    connect(extra={"max_retries": 0})
    run = run_of(lambda: dag(retries=1))
    sandbox.inject_fault(Fault("status", status=403, method="DELETE"))
    assert run.start("delete").state == "failed"
    run.clear("delete")
    sandbox.inject_fault(Fault("reset", method="DELETE", after_acting=True))
    assert run.start("delete").state == "up_for_retry"
    assert run.start("delete").state == "success"


def test_a_task_that_deleted_the_opportunity_can_be_cleared(sandbox: Sandbox) -> None:
    run = run_of(dag)
    assert run.start("delete").state == "success"
    run.clear("delete")
    outcome = run.start("delete")
    # Before Airflow 3.3 it is not known that an earlier try deleted it.
    assert outcome.state == ("success" if HAS_TASK_STATE_STORE else "failed")
    assert not is_there(sandbox)


@pytest.mark.parametrize("form", [UUID(EXAMPLE_OPPORTUNITY_UUID), f" {EXAMPLE_OPPORTUNITY_UUID.upper()}\n"])
def test_a_uuid_in_any_form_is_recognised_after_a_clear(form: Any, sandbox: Sandbox) -> None:
    uuid = form

    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            DeleteOpportunityOperator(task_id="delete", opportunity_uuid=uuid)
        return dag

    run = run_of(build)
    assert run.start("delete").state == "success"
    uuid = EXAMPLE_OPPORTUNITY_UUID
    run.clear("delete")
    assert run.start("delete").state == ("success" if HAS_TASK_STATE_STORE else "failed")
    assert not is_there(sandbox)


def test_another_opportunity_than_the_deleted_one_is_missing(sandbox: Sandbox) -> None:
    first, second, _ = (opportunity["uuid"] for opportunity in sandbox.opportunities)
    uuid = first

    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            DeleteOpportunityOperator(task_id="delete", opportunity_uuid=uuid)
        return dag

    run = run_of(build)
    assert run.start("delete").state == "success"
    sandbox.remove_opportunity(second)
    uuid = second
    run.clear("delete")
    assert run.start("delete").state == "failed"


def test_it_logs_the_outcome(sandbox: Sandbox, logs: Logs) -> None:
    operator = DeleteOpportunityOperator(
        task_id="delete", opportunity_uuid=EXAMPLE_OPPORTUNITY_UUID, ignore_missing=True
    )
    operator.execute({})
    assert logs.messages.count(f"Opportunity {EXAMPLE_OPPORTUNITY_UUID} is deleted.") == 1
    operator.execute({})
    assert logs.messages.count(f"Opportunity {EXAMPLE_OPPORTUNITY_UUID} does not exist any more.") == 1
    assert len(sandbox.requests) == 2


@pytest.mark.parametrize("uuid", ["", "..", "4ee13ca4"])
def test_what_is_no_uuid_sends_nothing(uuid: str, sandbox: Sandbox) -> None:
    with pytest.raises(AirflowFailException, match="opportunity_uuid"):
        DeleteOpportunityOperator(task_id="delete", opportunity_uuid=uuid).execute({})
    assert sandbox.requests == []

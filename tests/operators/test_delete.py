from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_chartmogul.operators.opportunity import DeleteOpportunityOperator
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault
from tests.support.dag_runs import run_of

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect


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
def test_a_lost_answer_does_no_harm(sandbox: Sandbox) -> None:
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


@pytest.mark.parametrize("uuid", ["", "..", "4ee13ca4"])
def test_what_is_no_uuid_sends_nothing(uuid: str, sandbox: Sandbox) -> None:
    with pytest.raises(AirflowFailException, match="opportunity_uuid"):
        DeleteOpportunityOperator(task_id="delete", opportunity_uuid=uuid).execute({})
    assert sandbox.requests == []

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_chartmogul.operators.opportunity import UpdateOpportunityOperator
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault
from tests.support.dag_runs import run_of

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Logs


def update(**options: Any) -> UpdateOpportunityOperator:
    return UpdateOpportunityOperator(**{"task_id": "update", "opportunity_uuid": EXAMPLE_OPPORTUNITY_UUID, **options})


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"win_likelihood": 0}, {"win_likelihood": 0}),
        ({"win_likelihood": None}, {"win_likelihood": None}),
        ({"amount_in_cents": "0"}, {"amount_in_cents": 0}),
        ({"opportunity_owner": "ada@example.com"}, {"owner": "ada@example.com"}),
        (
            {"custom": {"trial": False, "note": ""}},
            {"custom": [{"key": "trial", "value": False}, {"key": "note", "value": ""}]},
        ),
        ({"custom": None, "type": None}, {"custom": None, "type": None}),
        (
            {"pipeline_stage": "Closed Won", "forecast_category": "won"},
            {"pipeline_stage": "Closed Won", "forecast_category": "won"},
        ),
    ],
)
def test_it_sends_what_is_given_and_no_more(given: dict[str, Any], sent: dict[str, Any], sandbox: Sandbox) -> None:
    result = update(**given).execute({})
    (request,) = sandbox.requests
    assert (request.method, request.body) == ("PATCH", sent)
    assert result == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)


def test_it_can_be_mapped_and_leaves_the_owner_alone(sandbox: Sandbox) -> None:
    uuids = [opportunity["uuid"] for opportunity in sandbox.opportunities]
    owners = [opportunity["owner"] for opportunity in sandbox.opportunities]

    def build() -> DAG:
        with DAG("dag", schedule=None, default_args={"owner": "data-team"}, params={"likelihood": 7}) as dag:
            UpdateOpportunityOperator.partial(task_id="update", win_likelihood="{{ params.likelihood }}").expand(
                opportunity_uuid=uuids
            )
        return dag

    run = run_of(build)
    for index, owner in enumerate(owners):
        outcome = run.start("update", map_index=index)
        assert outcome.result == sandbox.opportunities[index]
        assert outcome.result["owner"] == owner
        assert outcome.result["win_likelihood"] == 7
    assert all(request.body == {"win_likelihood": 7} for request in sandbox.requests)


def test_fields_that_are_not_given_survive_rendering_and_copying(sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None, params={"stage": "Negotiation"}) as dag:
            update(pipeline_stage="{{ params.stage }}")
        return copy.deepcopy(dag)

    outcome = run_of(build).start("update")
    assert outcome.state == "success"
    assert sandbox.requests[0].body == {"pipeline_stage": "Negotiation"}
    assert outcome.link


def test_literals_are_checked_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match=r"amount_in_cents: .* currency: "):
        update(amount_in_cents=True, currency="e", type="{{ params.type }}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"forecast_category": "{{ 'lost' + 'cause' }}"}, "forecast_category: 'lostcause' is none of"),
        ({"opportunity_uuid": "{{ '..' }}", "currency": "USD"}, "opportunity_uuid: expected one like"),
        ({}, "Nothing to change"),
    ],
)
def test_what_is_wrong_fails_without_retry_or_request(given: dict[str, Any], message: str, sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            update(retries=3, **given)
        return dag

    outcome = run_of(build).start("update")
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert message in str(outcome.error)
    assert sandbox.requests == []


@pytest.mark.usefixtures("waits")
def test_a_lost_answer_does_no_harm(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("reset", method="PATCH", after_acting=True))
    assert update(win_likelihood=41).execute({}) == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)


def test_its_log_line_has_what_helps_and_nothing_private(sandbox: Sandbox, logs: Logs) -> None:
    update(opportunity_owner="ada@example.com", amount_in_cents=987654321).execute({})
    assert len(sandbox.requests) == 1
    assert f"Opportunity {EXAMPLE_OPPORTUNITY_UUID}: forecast category best_case, stage Discovery." in logs.messages
    assert "ada@example.com" not in logs.everything
    assert "987654321" not in logs.everything

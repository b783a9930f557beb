from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_chartmogul.operators.opportunity import UpdateOpportunityOperator
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault
from tests.support.dag_runs import run_of

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Logs


def update(changes: Any, **options: Any) -> UpdateOpportunityOperator:
    options = {"task_id": "update", "opportunity_uuid": EXAMPLE_OPPORTUNITY_UUID, "changes": changes, **options}
    return UpdateOpportunityOperator(**options)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"win_likelihood": 0}, {"win_likelihood": 0}),
        ({"win_likelihood": None}, {"win_likelihood": None}),
        ({"amount_in_cents": "0"}, {"amount_in_cents": 0}),
        ({"owner": "ada@example.com"}, {"owner": "ada@example.com"}),
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
    result = update(given).execute({})
    (request,) = sandbox.requests
    assert (request.method, request.body) == ("PATCH", sent)
    assert result == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)


def test_it_can_be_mapped_and_leaves_the_owner_alone(sandbox: Sandbox) -> None:
    uuids = [opportunity["uuid"] for opportunity in sandbox.opportunities]
    owners = [opportunity["owner"] for opportunity in sandbox.opportunities]

    def build() -> DAG:
        with DAG("dag", schedule=None, default_args={"owner": "data-team"}, params={"likelihood": 7}) as dag:
            UpdateOpportunityOperator.partial(
                task_id="update", changes={"win_likelihood": "{{ params.likelihood }}"}
            ).expand(opportunity_uuid=uuids)
        return dag

    run = run_of(build)
    for index, owner in enumerate(owners):
        outcome = run.start("update", map_index=index)
        assert outcome.result == sandbox.opportunities[index]
        assert outcome.result["owner"] == owner
        assert outcome.result["win_likelihood"] == 7
    assert all(request.body == {"win_likelihood": 7} for request in sandbox.requests)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("changes", [{"pipeline_stage": "{{ params.stage }}"}, "{{ params.whole | tojson }}"])
def test_changes_are_templated(changes: Any, native: bool, sandbox: Sandbox) -> None:  # noqa: FBT001
    params = {"stage": "Negotiation", "whole": {"pipeline_stage": "Negotiation"}}

    def build() -> DAG:
        with DAG("dag", schedule=None, params=params, render_template_as_native_obj=native) as dag:
            update(changes)
        return copy.deepcopy(dag)

    outcome = run_of(build).start("update")
    assert outcome.state == "success"
    assert sandbox.requests[0].body == {"pipeline_stage": "Negotiation"}
    assert outcome.link


def test_changes_can_come_from_another_task(sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:

            @task
            def choose() -> dict[str, Any]:
                return {"win_likelihood": 12}

            update(choose())
        return dag

    run = run_of(build)
    run.start("choose")
    assert run.start("update").result["win_likelihood"] == 12
    assert sandbox.requests[0].body == {"win_likelihood": 12}


def test_a_name_that_is_no_text_is_refused_when_rendered(sandbox: Sandbox) -> None:
    operator = update("{{ var.json.changes }}")
    rendered: Any = {1: 2}
    operator.changes = rendered
    with pytest.raises(AirflowFailException, match="1: not one of owner, pipeline, "):
        operator.execute({})
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amount_in_cents": True, "currency": "e", "type": "{{ params.type }}"}, r"amount_in_cents: .* currency: "),
        ('{"amount_in_cents": true}', "^amount_in_cents: "),
        ({"customer_uuid": "x"}, "^'customer_uuid': not one of owner, pipeline, "),
        (None, "^changes: expected a dict or a JSON object, not NoneType"),
    ],
)
def test_literals_are_checked_when_the_dag_is_parsed(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        update(changes)
    assert "type: " not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "uuid", "message"),
    [
        ({"forecast_category": "{{ 'lost' + 'cause' }}"}, EXAMPLE_OPPORTUNITY_UUID, "'lostcause' is none of"),
        ({"currency": "USD"}, "{{ '..' }}", "opportunity_uuid: expected one like"),
        ({}, EXAMPLE_OPPORTUNITY_UUID, "Nothing to change"),
        ("{{ '{\"self\": 1}' }}", EXAMPLE_OPPORTUNITY_UUID, "'self': not one of owner, pipeline, "),
        (
            "{{ '{\"opportunity_uuid\": 1}' }}",
            EXAMPLE_OPPORTUNITY_UUID,
            "'opportunity_uuid': not one of owner, pipeline, ",
        ),
        ("{{ {'type': 'arr'} }}", EXAMPLE_OPPORTUNITY_UUID, "changes: the text is not JSON; end a template of a dict"),
    ],
)
def test_what_is_wrong_fails_without_retry_or_request(changes: Any, uuid: str, message: str, sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            update(changes, opportunity_uuid=uuid, retries=3)
        return dag

    outcome = run_of(build).start("update")
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert message in str(outcome.error)
    assert sandbox.requests == []


@pytest.mark.usefixtures("waits")
def test_a_lost_response_does_no_harm(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("reset", method="PATCH", after_acting=True))
    assert update({"win_likelihood": 41}).execute({}) == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)


def test_its_log_line_has_what_helps_and_nothing_private(sandbox: Sandbox, logs: Logs) -> None:
    update({"owner": "ada@example.com", "amount_in_cents": 987654321}).execute({})
    assert len(sandbox.requests) == 1
    assert f"Opportunity {EXAMPLE_OPPORTUNITY_UUID}: forecast category best_case, stage Discovery." in logs.messages
    assert "ada@example.com" not in logs.everything
    assert "987654321" not in logs.everything

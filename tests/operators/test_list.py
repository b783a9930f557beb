from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_chartmogul.operators.opportunity import ListOpportunitiesOperator
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault, Sandbox
from tests.support.dag_runs import run_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def list_(**options: Any) -> ListOpportunitiesOperator:
    return ListOpportunitiesOperator(**{"task_id": "list", **options})


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(opportunities=401, requests_per_second=None) as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", sandbox.connection_json)
        yield sandbox


def test_it_returns_all_pages_newest_first(account: Sandbox) -> None:
    assert list_().execute({}) == account.opportunities
    assert len(account.requests) == 3


FILTERS: list[tuple[str, Any, str, Any]] = [
    ("customer_uuid", "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7", "customer_uuid", None),
    ("opportunity_owner", "grace+emea@example.com", "owner", None),
    ("pipeline", "Renewals", "pipeline", None),
    ("pipeline_stage", "Closed Won", "pipeline_stage", None),
    ("estimated_close_date_on_or_after", "2024-04-01", "estimated_close_date_on_or_after", None),
    ("estimated_close_date_on_or_after", datetime.date(2024, 4, 1), "estimated_close_date_on_or_after", "2024-04-01"),
    ("estimated_close_date_on_or_before", pendulum.date(2024, 4, 1), "estimated_close_date_on_or_before", "2024-04-01"),
    (
        "estimated_close_date_on_or_before",
        pendulum.datetime(2024, 4, 1),
        "estimated_close_date_on_or_before",
        "2024-04-01",
    ),
]


@pytest.mark.parametrize(("parameter", "value", "sent_as", "sent"), FILTERS)
def test_each_filter_is_sent(parameter: str, value: Any, sent_as: str, sent: str | None, account: Sandbox) -> None:
    found = list_(**{parameter: value}).execute({})
    assert 0 < len(found) < 401
    assert account.requests[0].query == {"per_page": "200", sent_as: sent or value}
    if sent_as in found[0]:
        assert {opportunity[sent_as] for opportunity in found} == {value}


def test_all_filters_are_templated(account: Sandbox) -> None:
    wanted = account.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    names = ["customer_uuid", "pipeline", "pipeline_stage"]

    def build() -> DAG:
        with DAG("dag", schedule=None, params=wanted, default_args={"owner": "data-team"}) as dag:
            list_(
                **{name: f"{{{{ params.{name} }}}}" for name in names},
                opportunity_owner="{{ params.owner }}",
                estimated_close_date_on_or_after="{{ params.estimated_close_date }}",
                estimated_close_date_on_or_before="{{ params.estimated_close_date }}",
            )
        return dag

    outcome = run_of(build).start("list")
    assert outcome.result == [wanted]
    assert len(account.requests[0].query) == 7


def test_the_owner_of_the_task_is_no_filter(account: Sandbox) -> None:
    with DAG("dag", schedule=None, default_args={"owner": "data-team"}):
        assert len(list_().execute({})) == 401
    assert account.requests[0].query == {"per_page": "200"}


def test_as_many_as_max_records_are_returned(account: Sandbox) -> None:
    assert len(list_(max_records=401).execute({})) == 401
    assert len(account.requests) == 3


@pytest.mark.parametrize(("max_records", "requests"), [(400, 3), (199, 1), (200, 2), (1, 1)])
def test_more_than_max_records_fail_with_a_pointer_to_the_export(
    max_records: int, requests: int, account: Sandbox
) -> None:
    with pytest.raises(AirflowFailException, match="ChartMogulToObjectStorageOperator") as raised:
        list_(max_records=max_records).execute({})
    assert f"more than {max_records} opportunities (max_records)" in str(raised.value)
    assert len(account.requests) == requests


@pytest.mark.parametrize("max_records", [0, -1, 1.5, True, "10", None])
def test_max_records_is_checked_when_the_dag_is_parsed(max_records: Any) -> None:
    with pytest.raises(ValueError, match="max_records"):
        list_(max_records=max_records)


def test_dates_are_checked_when_the_dag_is_parsed_or_rendered(account: Sandbox) -> None:
    with pytest.raises(ValueError, match="estimated_close_date_on_or_after: 'soon' is not a date"):
        list_(estimated_close_date_on_or_after="soon")

    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            list_(estimated_close_date_on_or_before="{{ 'so' + 'on' }}", retries=3)
        return dag

    outcome = run_of(build).start("list")
    assert outcome.state == "failed"
    assert "estimated_close_date_on_or_before: 'soon' is not a date" in str(outcome.error)
    assert account.requests == []


def test_an_empty_list_is_a_list(sandbox: Sandbox) -> None:
    assert list_(pipeline="None of them").execute({}) == []
    assert len(sandbox.requests) == 1


def test_permanent_errors_fail_without_retry(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=403))
    with pytest.raises(AirflowFailException, match="CRM seat"):
        list_().execute({})

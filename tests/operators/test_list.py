from __future__ import annotations

import datetime
import re
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


FILTERS: list[tuple[str, Any, Any]] = [
    ("customer_uuid", "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7", None),
    ("owner", "grace+emea@example.com", None),
    ("pipeline", "Renewals", None),
    ("pipeline_stage", "Closed Won", None),
    ("estimated_close_date_on_or_after", "2024-04-01", None),
    ("estimated_close_date_on_or_after", datetime.date(2024, 4, 1), "2024-04-01"),
    ("estimated_close_date_on_or_before", pendulum.date(2024, 4, 1), "2024-04-01"),
    ("estimated_close_date_on_or_before", pendulum.datetime(2024, 4, 1), "2024-04-01"),
]


@pytest.mark.parametrize(("name", "value", "sent"), FILTERS)
def test_each_filter_is_sent(name: str, value: Any, sent: str | None, account: Sandbox) -> None:
    found = list_(filters={name: value}).execute({})
    assert 0 < len(found) < 401
    assert account.requests[0].query == {"per_page": "200", name: sent or value}
    if name in found[0]:
        assert {opportunity[name] for opportunity in found} == {value}


@pytest.mark.parametrize(
    "filters",
    [
        pytest.param(
            {
                **{
                    name: f"{{{{ params.{name} }}}}"
                    for name in ("customer_uuid", "owner", "pipeline", "pipeline_stage")
                },
                "estimated_close_date_on_or_after": "{{ params.estimated_close_date }}",
                "estimated_close_date_on_or_before": "{{ params.estimated_close_date }}",
            },
            id="each value",
        ),
        pytest.param("{{ params.whole | tojson }}", id="whole mapping"),
    ],
)
def test_filters_are_templated(filters: Any, account: Sandbox) -> None:
    wanted = account.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    whole = {
        **{name: wanted[name] for name in ("customer_uuid", "owner", "pipeline", "pipeline_stage")},
        "estimated_close_date_on_or_after": wanted["estimated_close_date"],
        "estimated_close_date_on_or_before": wanted["estimated_close_date"],
    }

    def build() -> DAG:
        with DAG("dag", schedule=None, params={**wanted, "whole": whole}, default_args={"owner": "data-team"}) as dag:
            list_(filters=filters)
        return dag

    outcome = run_of(build).start("list")
    assert outcome.result == [wanted]
    assert len(account.requests[0].query) == 7


@pytest.mark.parametrize("filters", [None, {}, {"owner": None}])
def test_without_filters_it_lists_all(filters: Any, account: Sandbox) -> None:
    with DAG("dag", schedule=None, default_args={"owner": "data-team"}):
        assert len(list_(filters=filters).execute({})) == 401
    assert account.requests[0].query == {"per_page": "200"}


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"pipeline": ""}, "pipeline: empty, which may mean all or none; leave the filter out, or give None, for all."),
        ({"owner": " ", "pipeline": "{{ ds }}"}, "owner: empty"),
        ({"stage": "Discovery"}, "'stage': not one of customer_uuid, owner, pipeline, pipeline_stage, estimated_"),
        ({"estimated_close_date_on_or_after": "soon"}, "estimated_close_date_on_or_after: 'soon' is not a date"),
        ({"customer_uuid": "f466e33d"}, "customer_uuid: expected one like cus_"),
        ("", "filters: the text is not JSON"),
        ([], "filters: expected a dict or a JSON object, not list"),
    ],
)
def test_literal_filters_are_checked_when_the_dag_is_parsed(filters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        list_(filters=filters)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (
            {"estimated_close_date_on_or_before": "{{ 'so' + 'on' }}"},
            "estimated_close_date_on_or_before: 'soon' is not",
        ),
        ({"pipeline": "{{ '' }}"}, "pipeline: empty, which may mean all or none"),
        ("{{ '' }}", "filters: the text is not JSON"),
        ('{{ \'{"self": "x"}\' }}', "'self': not one of customer_uuid, owner, "),
    ],
)
def test_templated_filters_are_checked_when_rendered(filters: Any, message: str, account: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            list_(filters=filters, retries=3)
        return dag

    outcome = run_of(build).start("list")
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert message in str(outcome.error)
    assert account.requests == []


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


def test_an_empty_list_is_a_list(sandbox: Sandbox) -> None:
    assert list_(filters={"pipeline": "None of them"}).execute({}) == []
    assert len(sandbox.requests) == 1


def test_permanent_errors_fail_without_retry(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=403))
    with pytest.raises(AirflowFailException, match="CRM seat"):
        list_().execute({})

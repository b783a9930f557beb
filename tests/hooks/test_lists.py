from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any

import pendulum
import pytest

from airflow_provider_chartmogul.exceptions import ChartMogulInvalidResponseError, ChartMogulUnavailableError
from airflow_provider_chartmogul.hooks._paging import Page, parse_page
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from tests.conftest import Connect


def page(*entries: Any, cursor: Any, has_more: bool) -> str:
    return json.dumps({"entries": list(entries), "cursor": cursor, "has_more": has_more})


@pytest.mark.parametrize(("rows", "requests"), [(0, 1), (1, 1), (199, 1), (200, 1), (201, 2), (400, 2)])
def test_every_row_comes_once_in_order(rows: int, requests: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(opportunities=rows) as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", sandbox.connection_json)
        assert list(ChartMogulHook().list_opportunities()) == sandbox.opportunities
        assert len(sandbox.requests) == requests
        assert all(request.query["per_page"] == "200" for request in sandbox.requests)


def test_nothing_is_requested_before_it_is_needed(sandbox: Sandbox) -> None:
    rows = ChartMogulHook().paginate("opportunities", {"per_page": 2})
    assert sandbox.requests == []
    first, second = next(rows), next(rows)
    assert len(sandbox.requests) == 1
    assert [first, second, next(rows)] == sandbox.opportunities
    assert len(sandbox.requests) == 2
    assert list(rows) == []
    assert len(sandbox.requests) == 2


def test_pages_come_as_they_were_sent(sandbox: Sandbox) -> None:
    pages = list(ChartMogulHook().pages("opportunities", {"per_page": 2}))
    assert pages == [sandbox.opportunities[:2], sandbox.opportunities[2:]]


def test_a_walk_may_start_at_a_cursor(sandbox: Sandbox) -> None:
    hook = ChartMogulHook()
    cursor = hook.request("GET", "opportunities", params={"per_page": 1})["cursor"]
    assert list(hook.paginate("opportunities", {"cursor": cursor})) == sandbox.opportunities[1:]


def test_the_last_page_is_the_one_without_more_though_it_has_a_cursor(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body=page({"uuid": "a"}, cursor="abc", has_more=False)))
    assert list(ChartMogulHook().paginate("opportunities")) == [{"uuid": "a"}]
    assert len(sandbox.requests) == 1


def test_an_empty_page_with_more_behind_it_is_no_end(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body=page(cursor="abc", has_more=True)))
    sandbox.inject_fault(Fault("body", body=page({"uuid": "a"}, cursor=None, has_more=False)))
    assert list(ChartMogulHook().paginate("opportunities")) == [{"uuid": "a"}]
    assert sandbox.requests[1].query["cursor"] == "abc"


@pytest.mark.parametrize("cursors", [[None], [""], ["a", "a"], ["a", "b", "a"], ["a", None]])
def test_a_cursor_that_does_not_move_on_ends_the_walk_with_an_error(
    cursors: list[str | None], sandbox: Sandbox
) -> None:
    for cursor in cursors:
        sandbox.inject_fault(Fault("body", body=page({"uuid": "a"}, cursor=cursor, has_more=True)))
    with pytest.raises(ChartMogulInvalidResponseError, match="GET /v1/opportunities: the list does not end"):
        list(ChartMogulHook().paginate("opportunities"))
    assert len(sandbox.requests) == len(cursors)


def test_a_cursor_that_is_missing_ends_the_walk_with_an_error(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body='{"entries":[{"uuid":"a"}],"has_more":true}'))
    with pytest.raises(ChartMogulInvalidResponseError, match="the list does not end"):
        list(ChartMogulHook().paginate("opportunities"))
    assert len(sandbox.requests) == 1


def test_a_cursor_that_is_what_the_walk_started_with_ends_it_with_an_error(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body=page({"uuid": "a"}, cursor="abc", has_more=True)))
    with pytest.raises(ChartMogulInvalidResponseError, match="the list does not end"):
        list(ChartMogulHook().paginate("opportunities", {"cursor": "abc"}))


@pytest.mark.parametrize("name", ["entries", "customers", "invoices", "plans"])
def test_older_endpoints_name_the_rows_after_what_they_are(name: str, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body=json.dumps({name: [{"uuid": "a"}], "has_more": False, "page": 1})))
    assert list(ChartMogulHook().paginate(name)) == [{"uuid": "a"}]


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        "5",
        '"text"',
        "{}",
        '{"entries":{}}',
        '{"entries":null,"has_more":false}',
        '{"entries":null,"warnings":[],"has_more":false}',
        '{"entries":[5]}',
        '{"entries":[null]}',
        '{"a":[],"b":[]}',
        '{"a":[],"b":[],"has_more":false}',
        '{"tags":[]}',
        '{"customers":{"tags":[]},"others":[]}',
        '{"data":"pong!"}',
    ],
)
def test_what_is_no_page_is_an_error(body: str, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body=body))
    with pytest.raises(ChartMogulInvalidResponseError, match="GET /v1/customers: expected a page of a list") as refusal:
        list(ChartMogulHook().paginate("customers"))
    assert "This is not a list endpoint" in str(refusal.value)
    assert "proxy" not in str(refusal.value)


def test_what_is_no_page_of_opportunities_is_of_another_server(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body="{}"))
    with pytest.raises(ChartMogulInvalidResponseError, match="Check that the host of the Airflow connection is"):
        list(ChartMogulHook().list_opportunities())


@pytest.mark.parametrize(
    ("endpoint", "page"),
    [
        ("customers", {"entries": [{"uuid": "a"}], "warnings": [], "has_more": False}),
        ("customers", {"warnings": [{"code": 1}], "customers": [{"uuid": "a"}]}),
        ("data_sources", {"data_sources": [{"uuid": "a"}]}),
        ("plan_groups/plg_1/plans", {"plans": [{"uuid": "a"}], "total_pages": 1, "current_page": 1}),
        ("import/customers/cus_1/invoices", {"customer_uuid": "cus_1", "invoices": [{"uuid": "a"}], "total_pages": 0}),
        ("metrics/mrr", {"entries": [{"uuid": "a"}], "summary": {"current": 5, "previous": 3, "page": "none"}}),
        ("anything", {"rows": [{"uuid": "a"}], "has_more": False, "cursor": None}),
        ("subscription_events", {"subscription_events": [{"uuid": "a"}], "meta": {"has_more": False, "cursor": "abc"}}),
        ("invoices", {"invoices": [{"uuid": "a"}], "links": [{"rel": "prev", "href": "/1"}]}),
        ("invoices", {"invoices": [{"uuid": "a"}], "summary": {"a": {"b": {"c": {"has_next": True}}}}}),
        ("invoices", {"invoices": [{"uuid": "a"}], "summary": {"total": 5000, "count": 9, "pages": 9}}),
        ("invoices", {"invoices": [{"uuid": "a"}], "total": 1, "count": 0, "pages": 1, "per_page": 200}),
        ("invoices", {"invoices": [{"uuid": "a"}], "total": {"in_cents": 5000}, "pages": [1, 2], "more": []}),
        ("metrics/mrr", {"entries": [{"uuid": "a"}], "total": 5000}),
    ],
)
def test_a_list_is_found_among_the_other_fields_of_its_page(endpoint: str, page: Any, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body=json.dumps(page)))
    assert list(ChartMogulHook().paginate(endpoint)) == [{"uuid": "a"}]
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    "paging",
    [
        [{"has_more": True, "cursor": "abc"}, {"has_more": False, "cursor": "abc"}],
        [{"cursor": "abc"}, {"cursor": None}],
        [{"cursor": "abc"}, {}],
        [
            {"meta": {"page": 1, "total_pages": 2, "has_more": True, "cursor": "abc"}},
            {"meta": {"page": 2, "total_pages": 2, "has_more": False, "cursor": "xyz"}},
        ],
        [
            {"meta": {"page": 1, "total_pages": 2, "has_more": True, "cursor": "abc"}},
            {"meta": {"page": 1, "total_pages": 2, "has_more": False, "cursor": "xyz"}},
        ],
        [{"has_more": False, "meta": {"paging": {"has_more": True, "cursor": "abc"}}}, {"has_more": False}],
        [{"has_more": True, "total_pages": 2, "next_cursor": "abc"}, {"has_more": False}],
        [{"nextCursor": "abc"}, {"nextCursor": ""}],
        [{"cursor": "abc", "total": 2}, {"cursor": None, "total": 2}],
        [{"cursor": "abc", "has_more": True, "total": 2}, {"has_more": False, "total": 3}],
    ],
)
def test_paging_facts_are_followed_wherever_they_stand(paging: list[dict[str, Any]], sandbox: Sandbox) -> None:
    for number, facts in enumerate(paging):
        sandbox.inject_fault(Fault("body", body=json.dumps({"subscription_events": [{"id": number}], **facts})))
    assert list(ChartMogulHook().paginate("subscription_events")) == [{"id": 0}, {"id": 1}]
    assert [request.query.get("cursor") for request in sandbox.requests] == [None, "abc"]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"total_pages": 27, "current_page": 1}, "this is page 1 of 27, and no cursor leads to the next one"),
        ({"total_pages": 27, "current_page": 2}, "this is page 2, and the pages before it are missing"),
        ({"total_pages": 2, "current_page": 2}, "this is page 2, and the pages before it are missing"),
        ({"total_pages": "27"}, "this is page 1 of 27"),
        ({"total_pages": 27, "has_more": False}, "this is page 1 of 27"),
        ({"meta": {"page": 1, "total_pages": 2}}, "this is page 1 of 2"),
        ({"meta": {"page": 1, "total_pages": 2, "has_more": False}}, "this is page 1 of 2"),
        ({"meta": {"paging": {"total_pages": 2}}}, "this is page 1 of 2"),
        ({"meta": {"paging": {"pages": {"total_pages": 2}}}}, "this is page 1 of 2"),
        ({"total_pages": 1, "meta": {"total_pages": 2}}, "this is page 1 of 2"),
        ({"page": 3}, "this is page 3, and the pages before it are missing"),
        ({"total": 2}, "these are 1 of 2 entries, and no cursor leads to the others"),
        ({"total_count": "2", "per_page": 1}, "these are 1 of 2 entries"),
        ({"count": 2}, "these are 1 of 2 entries"),
        ({"meta": {"pagination": {"totalEntries": 2}}}, "these are 1 of 2 entries"),
        ({"total": 2, "has_more": False}, "these are 1 of 2 entries"),
        ({"pages": 2}, "this is page 1 of 2"),
        ({"current_page": 1, "last_page": 2}, "this is page 1 of 2"),
        ({"meta": {"page": {"totalPages": 2, "number": 0}}}, "this is page 1 of 2"),
        ({"meta": {"nextPageToken": "abc"}}, "another page follows"),
        ({"more": True}, "another page follows"),
        ({"next_page_url": "/v1/invoices?page=2", "last_page_url": "/v1/invoices?page=2"}, "another page follows"),
        ({"next_offset": 200}, "another page follows"),
        ({"total_pages": "many"}, "total_pages is not a whole number"),
        ({"total_pages": []}, "total_pages is not a whole number"),
        ({"has_next": True}, "another page follows, and no cursor leads to it"),
        ({"pageInfo": {"hasNextPage": True, "endCursor": "abc"}}, "another page follows"),
        ({"hasMore": True}, "the list does not end: has_more is true without a cursor"),
        ({"links": [{"rel": "prev", "href": "/1"}, {"rel": "next", "href": "/3"}]}, "another page follows"),
        ({"next_page": 2}, "another page follows, and no cursor leads to it"),
        ({"links": {"next": "https://api.chartmogul.com/v1/invoices?page=2"}}, "another page follows"),
        ({"_links": {"next": {"href": "/v1/invoices?page=2"}}}, "another page follows"),
        ({"cursor": {"next": "abc"}}, "the cursor is not text"),
        ({"has_more": "false"}, "has_more is neither true nor false"),
        ({"meta": {"has_more": 1}}, "has_more is neither true nor false"),
        ({"has_more": True, "cursor": 5}, "the cursor is not text"),
        ({"has_more": True, "meta": {"cursor": ""}}, "the list does not end: has_more is true without a cursor"),
    ],
)
def test_a_page_is_not_taken_for_the_list_where_more_may_follow(facts: Any, message: str, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body=json.dumps({"invoices": [{"uuid": "a"}], **facts}), times=None))
    with pytest.raises(ChartMogulInvalidResponseError, match=f"GET /v1/invoices: {message}") as refusal:
        list(ChartMogulHook().paginate("invoices"))
    assert "proxy" not in str(refusal.value)
    assert len(sandbox.requests) == 1


def test_a_list_that_is_read_from_a_cursor_may_end_at_any_page(sandbox: Sandbox) -> None:
    for facts in ({"current_page": 3, "total_pages": 3}, {"total_pages": 3, "total": 5, "has_more": False}):
        sandbox.inject_fault(Fault("body", body=json.dumps({"invoices": [{"uuid": "a"}], **facts})))
        assert list(ChartMogulHook().paginate("invoices", {"cursor": "abc"})) == [{"uuid": "a"}]


def test_a_page_number_in_a_query_is_refused_with_the_reason(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="page: ChartMogul has deprecated page numbers"):
        ChartMogulHook().pages("invoices", {"page": 2})
    with pytest.raises(ValueError, match="page: ChartMogul has deprecated page numbers"):
        ChartMogulHook().paginate("invoices", {"page": 0})
    assert sandbox.requests == []


@pytest.mark.parametrize("endpoint", ["data_sources", "metrics/mrr", "metrics/customer-count"])
def test_a_list_that_does_not_page_is_requested_once(endpoint: str, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body='{"entries":[{"date":"2026-01-31"}],"summary":{}}'))
    query = {"start-date": "2026-01-01"}
    assert list(ChartMogulHook().paginate(endpoint, query)) == [{"date": "2026-01-31"}]
    assert sandbox.requests[0].query == query


def test_of_pages_that_are_parsed_alone_nothing_is_known_of_those_before() -> None:
    entries: list[Any] = [None, 5, {"uuid": 7}]
    assert parse_page({"entries": entries, "has_more": True, "cursor": "abc"}, "opportunities") == Page(entries, "abc")
    assert parse_page({"entries": entries, "has_more": False, "cursor": "abc"}, "opportunities") == Page(entries, None)
    with pytest.raises(ChartMogulInvalidResponseError, match="this is page 1 of 2"):
        parse_page({"entries": entries, "total_pages": 2}, "opportunities")


def test_a_page_that_could_not_be_had_can_be_requested_again(sandbox: Sandbox, connect: Connect) -> None:
    connect(extra={"max_retries": 0})
    pages = ChartMogulHook().pages("opportunities", {"per_page": 2})
    first = next(pages)
    sandbox.inject_fault(Fault("status", status=503))
    with pytest.raises(ChartMogulUnavailableError):
        next(pages)
    assert first + next(pages) == sandbox.opportunities
    assert list(pages) == []


def test_opportunities_can_be_filtered_by_all_that_the_api_offers(sandbox: Sandbox) -> None:
    wanted = sandbox.add_opportunity(
        owner="grace+emea@example.com",
        pipeline="Renewals",
        pipeline_stage="Negotiation",
        estimated_close_date="2026-05-05",
    )
    for other in (
        {"owner": "ada@example.com"},
        {"pipeline": "New Business"},
        {"pipeline_stage": "Discovery"},
        {"estimated_close_date": "2026-05-04"},
        {"estimated_close_date": "2026-05-06"},
        {"customer_uuid": "cus_00000000-0000-0000-0000-000000000000"},
    ):
        fields = {name: value for name, value in wanted.items() if name not in ("uuid", "created_at", "updated_at")}
        sandbox.add_opportunity(**{**fields, **other})
    found = ChartMogulHook().list_opportunities(
        customer_uuid=wanted["customer_uuid"],
        owner="grace+emea@example.com",
        pipeline="Renewals",
        pipeline_stage="Negotiation",
        estimated_close_date_on_or_after="2026-05-05",
        estimated_close_date_on_or_before="2026-05-05",
    )
    assert list(found) == [wanted]


def test_a_filter_that_is_none_is_not_sent(sandbox: Sandbox) -> None:
    list(ChartMogulHook().list_opportunities())
    assert sandbox.requests[0].query == {"per_page": "200"}


@pytest.mark.parametrize(
    "date",
    [
        "2026-05-05",
        "2026-05-05T10:00:00Z",
        datetime.date(2026, 5, 5),
        datetime.datetime(2026, 5, 5, 10, tzinfo=datetime.UTC),
        pendulum.date(2026, 5, 5),
        pendulum.datetime(2026, 5, 5, 10),
    ],
)
@pytest.mark.parametrize("side", ["estimated_close_date_on_or_after", "estimated_close_date_on_or_before"])
def test_dates_may_be_of_any_kind(side: str, date: Any, sandbox: Sandbox) -> None:
    list(ChartMogulHook().list_opportunities(**{side: date}))
    assert sandbox.requests[0].query == {"per_page": "200", side: "2026-05-05"}


@pytest.mark.parametrize("side", ["estimated_close_date_on_or_after", "estimated_close_date_on_or_before"])
def test_what_is_no_date_is_refused_at_once(side: str, sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match=f"{side}: 'soon' is not a date"):
        ChartMogulHook().list_opportunities(**{side: "soon"})
    assert sandbox.requests == []

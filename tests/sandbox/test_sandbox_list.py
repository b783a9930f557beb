"""The list: order, pages, cursors and filters."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.sandbox import Sandbox, _timestamps
from tests.support.sandbox_client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/v1/opportunities"


@pytest.fixture(scope="module")
def large() -> Iterator[Client]:
    with Sandbox(opportunities=450, requests_per_second=None) as sandbox:
        client = Client(sandbox)
        yield client
        client.session.close()


def uuids(opportunities: list[dict[str, Any]]) -> list[str]:
    return [opportunity["uuid"] for opportunity in opportunities]


def test_the_newest_come_first_and_their_entries_are_complete(large: Client) -> None:
    response = large.get(PATH, params={"per_page": 3})

    assert response.status_code == 200
    page = response.json()
    assert list(page) == ["entries", "cursor", "has_more"]
    assert page["entries"] == large.sandbox.opportunities[:3]
    created = [entry["created_at"] for entry in page["entries"]]
    assert created == sorted(created, reverse=True)


def test_the_cursor_names_the_last_entry_to_the_microsecond(large: Client) -> None:
    page = large.get(PATH, params={"per_page": 2}).json()

    moment, uuid = base64.b64decode(page["cursor"], validate=True).decode().split("&")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}000Z", moment)
    assert moment[:23] + "Z" == page["entries"][-1]["created_at"]
    assert uuid == page["entries"][-1]["uuid"]


def test_the_last_page_has_a_cursor_too(large: Client) -> None:
    first = large.get(PATH).json()
    second = large.get(PATH, params={"cursor": first["cursor"]}).json()
    third = large.get(PATH, params={"cursor": second["cursor"]}).json()

    pages = [first, second, third]
    assert [len(page["entries"]) for page in pages] == [200, 200, 50]
    assert [page["has_more"] for page in pages] == [True, True, False]
    assert third["cursor"] is not None
    assert [entry for page in pages for entry in page["entries"]] == large.sandbox.opportunities


def test_a_full_last_page_does_not_promise_more(large: Client) -> None:
    walked = large.walk(per_page=150)

    assert len(walked) == 450
    assert len([r for r in large.sandbox.requests if r.query.get("per_page") == "150"]) == 3


def test_an_empty_list_has_no_cursor() -> None:
    with Sandbox(opportunities=0) as sandbox:
        response = Client(sandbox).get(PATH)

    assert response.text == '{"entries":[],"cursor":null,"has_more":false}'


@pytest.mark.parametrize("per_page", ["201", "1000", "0", "-1", "ten", "", "9" * 5000])
def test_a_page_size_out_of_range_falls_back_to_200(large: Client, per_page: str) -> None:
    assert len(large.get(PATH, params={"per_page": per_page}).json()["entries"]) == 200


@pytest.mark.parametrize(
    "query",
    [
        "customer_uuid=&per_page=1",  # as Go's client lists
        "cursor=&per_page=1",  # as Node's client sends the cursor of an empty list
        "cursor=null&per_page=1",
        "owner=&pipeline=&pipeline_stage=&per_page=1",
        "estimated_close_date_on_or_after=&estimated_close_date_on_or_before=&per_page=1",
    ],
)
def test_empty_parameters_count_as_not_given(large: Client, query: str) -> None:
    assert large.get(f"{PATH}?{query}").json() == large.get(PATH, params={"per_page": 1}).json()


def test_page_numbers_and_unknown_parameters_are_ignored(large: Client) -> None:
    assert large.get(PATH, params={"page": 2, "sort": "owner"}).json() == large.get(PATH).json()


@pytest.mark.parametrize(
    "cursor", ["x", "bm9wZQ==", base64.b64encode(b"2024-13-01T00:00:00.000000000Z&u").decode(), "ä"]
)
def test_an_invalid_cursor_is_400(large: Client, cursor: str) -> None:
    response = large.get(PATH, params={"cursor": cursor})

    assert response.status_code == 400
    assert response.json()["param"] == "cursor"


def test_what_is_created_while_paging_does_not_shift_the_pages(client: Client, sandbox: Sandbox) -> None:
    before = uuids(sandbox.opportunities)
    first = client.get(PATH, params={"per_page": 1}).json()
    sandbox.add_opportunity()

    rest = client.walk(per_page=1, cursor=first["cursor"])
    assert uuids(first["entries"] + rest) == before


def test_what_is_deleted_while_paging_does_not_shift_the_pages(client: Client, sandbox: Sandbox) -> None:
    before = uuids(sandbox.opportunities)
    first = client.get(PATH, params={"per_page": 1}).json()
    sandbox.remove_opportunity(before[0])
    second = client.get(PATH, params={"per_page": 1, "cursor": first["cursor"]}).json()
    sandbox.remove_opportunity(before[2])
    third = client.get(PATH, params={"per_page": 1, "cursor": second["cursor"]}).json()

    assert uuids(second["entries"]) == [before[1]]
    assert third == {"entries": [], "cursor": None, "has_more": False}


def test_what_is_edited_while_paging_keeps_its_place(client: Client, sandbox: Sandbox) -> None:
    before = uuids(sandbox.opportunities)
    first = client.get(PATH, params={"per_page": 1}).json()
    client.update(before[2], win_likelihood=1)

    assert uuids(first["entries"] + client.walk(per_page=1, cursor=first["cursor"])) == before


def test_a_created_opportunity_is_listed_first_at_once(client: Client, sandbox: Sandbox) -> None:
    created = [sandbox.add_opportunity() for _ in range(20)]

    assert client.walk()[:20] == created[::-1]


def test_opportunities_created_within_one_tick_of_the_clock_keep_their_order(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_timestamps, "now", lambda: 2_000_000_000_000_000)
    created = [sandbox.add_opportunity() for _ in range(20)]

    assert sandbox.opportunities[:20] == created[::-1]


def test_opportunities_of_the_same_instant_are_distinguished_by_uuid(client: Client, sandbox: Sandbox) -> None:
    wanted = [f"{digit}0000000-e7fe-11ee-8a7f-f303abf41acc" for digit in "59137"]
    for uuid in wanted:
        sandbox.add_opportunity(uuid=uuid, created_at="2025-01-01T00:00:00.000Z")

    assert uuids(client.walk(per_page=2))[:5] == sorted(wanted, reverse=True)


@pytest.mark.parametrize(
    "filters",
    [
        {"owner": "grace+emea@example.com"},
        {"pipeline": "Renewals"},
        {"pipeline_stage": "Closed Won"},
        {"customer_uuid": "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7"},
        {"owner": "ada@example.com", "pipeline": "New Business"},
        {"owner": "nobody@example.com"},
    ],
)
def test_filters_select_exactly_over_all_pages(large: Client, filters: dict[str, str]) -> None:
    expected = [
        opportunity
        for opportunity in large.sandbox.opportunities
        if all(opportunity[name] == value for name, value in filters.items())
    ]

    assert large.walk(per_page=7, **filters) == expected
    assert len(expected) < 450


def test_close_date_filters_include_their_ends(large: Client) -> None:
    everything = large.sandbox.opportunities
    dates = sorted(opportunity["estimated_close_date"] for opportunity in everything)
    earliest, latest = dates[100], dates[300]
    expected = [o for o in everything if earliest <= o["estimated_close_date"] <= latest]

    found = large.walk(
        estimated_close_date_on_or_after=earliest, estimated_close_date_on_or_before=f"{latest}T12:00:00Z"
    )
    assert found == expected
    assert len(large.walk(estimated_close_date_on_or_after=earliest)) > len(expected)


@pytest.mark.parametrize("ends", [(100, 100), (0, 5), (444, 449), (0, 300)])
def test_close_date_filters_of_any_width_keep_the_order_over_all_pages(large: Client, ends: tuple[int, int]) -> None:
    everything = large.sandbox.opportunities
    dates = sorted(opportunity["estimated_close_date"] for opportunity in everything)
    earliest, latest = (dates[end] for end in ends)
    found = large.walk(per_page=2, estimated_close_date_on_or_after=earliest, estimated_close_date_on_or_before=latest)

    assert found == [o for o in everything if earliest <= o["estimated_close_date"] <= latest]


def test_an_opportunity_without_close_date_matches_no_date(client: Client, sandbox: Sandbox) -> None:
    without = sandbox.add_opportunity(estimated_close_date=None)

    assert without["uuid"] not in uuids(client.walk(estimated_close_date_on_or_after="2000-01-01"))
    assert without["uuid"] in uuids(client.walk())


def test_a_filter_that_is_no_date_is_422(client: Client) -> None:
    response = client.get(PATH, params={"estimated_close_date_on_or_before": "soon"})

    assert (response.status_code, response.json()["param"]) == (422, "estimated_close_date_on_or_before")


def test_a_cursor_serves_with_other_filters_too(large: Client) -> None:
    cursor = large.get(PATH, params={"per_page": 100}).json()["cursor"]
    expected = [o for o in large.sandbox.opportunities[100:] if o["pipeline"] == "Renewals"]

    assert large.walk(cursor=cursor, pipeline="Renewals") == expected


def test_filters_follow_changes(client: Client, sandbox: Sandbox) -> None:
    newest, middle, oldest = uuids(sandbox.opportunities)
    for _ in range(20):  # more than match, so that an index is shorter than the list
        sandbox.add_opportunity(pipeline="Partners")
    for uuid in (newest, oldest):
        sandbox.set_opportunity(uuid, pipeline="Renewals")
    sandbox.set_opportunity(middle, pipeline="New Business")
    assert uuids(client.walk(pipeline="Renewals")) == [newest, oldest]

    sandbox.set_opportunity(middle, pipeline="Renewals")
    sandbox.remove_opportunity(newest)
    sandbox.set_opportunity(oldest, pipeline=None)
    added = sandbox.add_opportunity(pipeline="Renewals")["uuid"]
    assert uuids(client.walk(pipeline="Renewals")) == [added, middle]


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
def test_a_long_page_is_chunked_and_compressed_if_the_client_accepts_it(large: Client, accepted: str) -> None:
    response = large.get(PATH, headers={"Accept-Encoding": accepted})

    assert response.headers["transfer-encoding"] == "chunked"
    assert response.headers["vary"] == "Accept-Encoding"
    assert "content-length" not in response.headers
    assert response.headers.get("content-encoding", "identity") == accepted
    assert response.json()["entries"] == large.sandbox.opportunities[:200]


def test_a_short_page_is_neither(large: Client) -> None:
    headers = large.get(PATH, params={"per_page": 1}, headers={"Accept-Encoding": "gzip"}).headers

    assert int(headers["content-length"]) > 0
    assert not {"transfer-encoding", "content-encoding", "vary"} & {name.lower() for name in headers}


def test_a_json_body_on_a_get_is_tolerated(client: Client) -> None:
    assert client.get(PATH, json={}).status_code == 200

"""Retrieve, create, update and delete, as any HTTP client sees them."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.support.sandbox_client import Client

EXAMPLE_PATH = f"/v1/opportunities/{EXAMPLE_OPPORTUNITY_UUID}"
UNKNOWN_UUID = "00000000-e7fe-11ee-fa7f-f303abf41acc"
KEYS_IN_ORDER = [
    "uuid",
    "customer_uuid",
    "owner",
    "pipeline",
    "pipeline_stage",
    "estimated_close_date",
    "currency",
    "amount_in_cents",
    "type",
    "forecast_category",
    "win_likelihood",
    "custom",
    "created_at",
    "updated_at",
]
NEW = {
    "customer_uuid": "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7",
    "owner": "kamil+pavlicko@example.com",
    "pipeline": "New Business",
    "pipeline_stage": "Evaluation",
    "estimated_close_date": "2024-03-30",
    "amount_in_cents": 100000,
    "currency": "EUR",
}


def test_retrieve_returns_the_example_of_the_documentation(client: Client) -> None:
    response = client.get(EXAMPLE_PATH)

    assert response.status_code == 200
    assert list(response.json()) == KEYS_IN_ORDER
    assert response.json() == {
        "uuid": "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc",
        "customer_uuid": "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7",
        "owner": "owner@example.com",
        "pipeline": "New Business",
        "pipeline_stage": "Discovery",
        "estimated_close_date": "2024-04-21",
        "currency": "USD",
        "amount_in_cents": 10000,
        "type": "recurring",
        "forecast_category": "best_case",
        "win_likelihood": 40,
        "custom": {"seats": 3, "marketing_campaign": "Facebook"},
        "created_at": "2024-03-20T09:55:50.156Z",
        "updated_at": "2024-03-20T09:55:50.156Z",
    }


def test_a_success_carries_exactly_the_headers_that_were_recorded(client: Client) -> None:
    headers = {name.lower(): value for name, value in client.get(EXAMPLE_PATH).headers.items()}

    date, length = headers.pop("date"), headers.pop("content-length")
    assert date.endswith("GMT")
    assert int(length) > 0
    assert headers == {
        "content-type": "application/json",
        "connection": "keep-alive",
        "access-control-allow-credentials": "true",
    }


def test_an_error_lacks_the_header_of_successes(client: Client) -> None:
    response = client.get(f"/v1/opportunities/{UNKNOWN_UUID}")

    assert response.headers["content-type"] == "application/json"
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("uuid", [UNKNOWN_UUID, "not-a-uuid", "con_4ee13ca4"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_opportunity_that_does_not_exist_is_404(client: Client, method: str, uuid: str) -> None:
    response = client.send(method, f"/v1/opportunities/{uuid}", json={})

    assert response.status_code == 404
    assert response.text == (
        f'{{"code":404,"message":"Opportunity \\"{uuid}\\" does not exist","param":"opportunity_uuid"}}'
    )


def test_a_slash_hidden_in_the_uuid_leads_nowhere_else(client: Client, sandbox: Sandbox) -> None:
    assert client.get("/v1/opportunities/..%2Fping").status_code == 404
    assert sandbox.requests[-1].path == "/v1/opportunities/..%2Fping"


def test_create_returns_201_with_the_whole_object(client: Client, sandbox: Sandbox) -> None:
    custom = [{"key": "from_campaign", "value": True}, {"key": "seats", "value": 3}]
    response = client.create(**NEW, type="one-time", forecast_category="committed", win_likelihood=0, custom=custom)

    assert response.status_code == 201
    created = response.json()
    assert list(created) == KEYS_IN_ORDER
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", created["uuid"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created["created_at"])
    assert created["updated_at"] == created["created_at"]
    created_at = datetime.datetime.fromisoformat(created["created_at"])
    since_1582 = created_at - datetime.datetime(1582, 10, 15, tzinfo=datetime.UTC)
    assert UUID(created["uuid"]).time // 10_000 == since_1582 // datetime.timedelta(milliseconds=1)
    assert {name: created[name] for name in NEW} == NEW
    assert created["type"] == "one-time"
    assert created["forecast_category"] == "committed"
    assert created["win_likelihood"] == 0
    assert created["custom"] == {"from_campaign": True, "seats": 3}
    assert client.get(f"/v1/opportunities/{created['uuid']}").json() == created
    assert sandbox.opportunities[0] == created


@pytest.mark.parametrize(
    ("stage", "category", "likelihood"),
    [("Discovery", "pipeline", 10), ("Closed Won", "won", 100), ("Closed Lost", "lost", 0)],
)
def test_create_takes_from_the_stage_what_is_left_out(
    client: Client, stage: str, category: str, likelihood: int
) -> None:
    created = client.create(**{**NEW, "pipeline_stage": stage, "type": None}).json()

    assert created["forecast_category"] == category
    assert created["win_likelihood"] == likelihood
    assert created["type"] == "recurring"
    assert created["custom"] == {}


def test_create_ignores_fields_it_does_not_know(client: Client) -> None:
    created = client.create(**NEW, uuid=UNKNOWN_UUID, created_at="1999-01-01", probability=7).json()

    assert list(created) == KEYS_IN_ORDER
    assert created["uuid"] != UNKNOWN_UUID
    assert not created["created_at"].startswith("1999")


def test_create_reduces_a_full_timestamp_to_its_date(client: Client) -> None:
    created = client.create(**{**NEW, "estimated_close_date": "2024-03-30T23:30:00.000-05:00"}).json()

    assert created["estimated_close_date"] == "2024-03-30"


@pytest.mark.parametrize("missing", NEW)
@pytest.mark.parametrize("as_null", [False, True])
def test_create_without_a_required_field_is_400(
    client: Client, sandbox: Sandbox, missing: str, *, as_null: bool
) -> None:
    body = {name: value for name, value in NEW.items() if name != missing}
    response = client.create(**body, **({missing: None} if as_null else {}))

    assert response.status_code == 400
    assert response.json() == {"code": 400, "message": f'Parameter "{missing}" is missing', "param": missing}
    assert len(sandbox.opportunities) == 3


UNACCEPTABLE = [
    ("customer_uuid", "f466e33d-ff2b-4a11-8f85-417eb02157a7", 422),
    ("customer_uuid", 7, 400),
    ("owner", "kamil", 422),
    ("pipeline", "Old Business", 422),
    ("pipeline_stage", "discovery", 422),
    ("estimated_close_date", "next week", 422),
    ("estimated_close_date", 20240330, 400),
    ("amount_in_cents", "100", 400),
    ("amount_in_cents", 1.5, 400),
    ("amount_in_cents", True, 400),
    ("currency", "usd", 422),
    ("type", "one_time", 422),
    ("forecast_category", "Best Case", 422),
    ("win_likelihood", 101, 422),
    ("win_likelihood", -1, 422),
    ("win_likelihood", "40", 400),
]


@pytest.mark.parametrize(("field", "value", "status"), UNACCEPTABLE)
def test_create_names_the_field_it_cannot_accept(
    client: Client, sandbox: Sandbox, field: str, value: Any, status: int
) -> None:
    response = client.create(**{**NEW, field: value})

    assert response.status_code == status
    assert list(response.json()) == ["code", "message", "param"]
    assert response.json()["code"] == status
    assert response.json()["param"] == field
    assert len(sandbox.opportunities) == 3


@pytest.mark.parametrize(("field", "value", "status"), UNACCEPTABLE[2:])
def test_update_names_the_field_it_cannot_accept(
    client: Client, sandbox: Sandbox, field: str, value: Any, status: int
) -> None:
    before = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    response = client.update(EXAMPLE_OPPORTUNITY_UUID, **{"amount_in_cents": 1, field: value})

    assert (response.status_code, response.json()["param"]) == (status, field)
    assert sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID) == before


@pytest.mark.parametrize("custom", [{"seats": 3}, "seats", [{"seats": 3}], [{"key": "seats"}], [["seats", 3]]])
def test_custom_attributes_in_a_wrong_shape_are_500_and_say_which_shape_is_right(client: Client, custom: Any) -> None:
    response = client.create(**NEW, custom=custom)

    assert response.status_code == 500
    message = 'Parameter "custom" must be an array of {"key": ..., "value": ...}'
    assert response.json() == {"code": 500, "message": message, "param": "custom"}


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'"text"'])
def test_a_body_that_is_no_object_is_400(client: Client, body: bytes) -> None:
    response = client.send("POST", "/v1/opportunities", data=body)

    assert response.status_code == 400
    assert response.json()["param"] is None


def test_update_changes_the_named_fields_only(client: Client, sandbox: Sandbox) -> None:
    before = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    response = client.update(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won", amount_in_cents=0)

    assert response.status_code == 200
    after = response.json()
    assert list(after) == KEYS_IN_ORDER
    assert after["updated_at"] > before["updated_at"]
    changed = {"forecast_category": "won", "amount_in_cents": 0, "updated_at": after["updated_at"]}
    assert after == {**before, **changed}
    assert client.get(EXAMPLE_PATH).json() == after


def test_update_replaces_the_custom_attributes(client: Client) -> None:
    after = client.update(EXAMPLE_OPPORTUNITY_UUID, custom=[{"key": "seats", "value": 4}]).json()

    assert after["custom"] == {"seats": 4}


def test_update_with_null_resets_what_is_optional_and_refuses_it_for_the_rest(client: Client) -> None:
    reset = client.update(EXAMPLE_OPPORTUNITY_UUID, custom=None, win_likelihood=None).json()

    assert (reset["custom"], reset["win_likelihood"]) == ({}, 10)
    assert client.update(EXAMPLE_OPPORTUNITY_UUID, owner=None).json()["param"] == "owner"


def test_update_leaves_the_customer_as_it_is(client: Client) -> None:
    other = "cus_00000000-ff2b-4a11-8f85-417eb02157a7"

    assert client.update(EXAMPLE_OPPORTUNITY_UUID, customer_uuid=other).json()["customer_uuid"] != other


def test_put_is_not_routed(client: Client) -> None:
    assert client.send("PUT", EXAMPLE_PATH, json={"win_likelihood": 1}).text == "404 Not Found"


def test_pipelines_and_stages_of_the_account_are_known_besides_the_default_ones(
    client: Client, sandbox: Sandbox
) -> None:
    sandbox.add_opportunity(pipeline="Partners", pipeline_stage="Signed")

    created = client.create(**{**NEW, "pipeline": "Partners", "pipeline_stage": "Signed"})
    assert created.status_code == 201
    elsewhere = client.create(**{**NEW, "pipeline_stage": "Signed"})
    assert elsewhere.json()["param"] == "pipeline_stage"


def test_delete_returns_200_with_an_empty_object_and_then_404(client: Client, sandbox: Sandbox) -> None:
    response = client.send("DELETE", EXAMPLE_PATH)

    assert (response.status_code, response.content) == (200, b"{}")
    assert client.send("DELETE", EXAMPLE_PATH).status_code == 404
    assert client.get(EXAMPLE_PATH).status_code == 404
    assert len(sandbox.opportunities) == 2


def test_text_beyond_ascii_travels_as_utf_8(client: Client) -> None:
    created = client.create(**NEW, custom=[{"key": "città", "value": "Zürich 🏔"}])

    assert "Zürich 🏔" in created.content.decode()
    assert created.json()["custom"] == {"città": "Zürich 🏔"}


def test_ping_returns_pong(client: Client) -> None:
    response = client.get("/v1/ping")

    assert (response.status_code, response.text) == (200, '{"data":"pong!"}')


def test_account_returns_its_data(client: Client) -> None:
    response = client.get("/v1/account")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert {"etag", "x-request-id", "x-runtime"} <= {name.lower() for name in response.headers}
    assert "access-control-allow-credentials" not in response.headers
    assert list(response.json()) == ["id", "name", "currency", "time_zone", "week_start_on"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/customers", "/v1/opportunities/", "/v2/ping", "/v1/ping/x"])
def test_a_path_the_api_does_not_have_is_404_in_plain_text(client: Client, path: str) -> None:
    response = client.get(path)

    assert (response.status_code, response.text) == (404, "404 Not Found")
    assert response.headers["x-cascade"] == "pass"
    assert "content-type" not in response.headers

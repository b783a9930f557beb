from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.exceptions import (
    ChartMogulError,
    ChartMogulInvalidResponseError,
    ChartMogulNotFoundError,
    ChartMogulUnavailableError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox

NEW: dict[str, Any] = {
    "customer_uuid": "cus_6dc2f92e-0000-4000-8000-3f8ab7a1c0de",
    "owner": "ada@example.com",
    "pipeline": "New Business",
    "pipeline_stage": "Discovery",
    "estimated_close_date": datetime.date(2030, 1, 31),
    "amount_in_cents": 0,
    "currency": "EUR",
}


def test_create_returns_the_object_of_the_server(sandbox: Sandbox) -> None:
    created = ChartMogulHook().create_opportunity(**NEW, custom={"seats": 3}, win_likelihood=0)
    assert created == sandbox.opportunities[0]
    (request,) = sandbox.requests
    assert (request.method, request.path) == ("POST", "/v1/opportunities")
    assert request.body == {
        **NEW,
        "estimated_close_date": "2030-01-31",
        "win_likelihood": 0,
        "custom": [{"key": "seats", "value": 3}],
    }


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("reset", after_acting=True), ChartMogulUnreachableError),
        (Fault("status", status=500, after_acting=True), ChartMogulUnavailableError),
        (Fault("status", status=504, after_acting=True), ChartMogulUnavailableError),
        (Fault("truncate", after_acting=True), ChartMogulUnreachableError),
        (Fault("html", after_acting=True), ChartMogulInvalidResponseError),
        (Fault("body", body="[]", after_acting=True), ChartMogulInvalidResponseError),
    ],
)
def test_create_says_when_it_may_have_been_done_and_does_it_once(
    fault: Fault, error: type[ChartMogulError], sandbox: Sandbox
) -> None:
    sandbox.inject_fault(fault)
    with pytest.raises(error) as raised:
        ChartMogulHook().create_opportunity(**NEW)
    assert raised.value.may_have_acted
    assert len(sandbox.requests) == 1


def test_create_goes_on_where_nothing_can_have_been_done(sandbox: Sandbox, waits: list[float]) -> None:
    sandbox.inject_fault(Fault("status", status=429))
    created = ChartMogulHook().create_opportunity(**NEW)
    assert [created["uuid"]] == [one["uuid"] for one in sandbox.opportunities if one["currency"] == "EUR"][:1]
    assert len(waits) == 1


def test_update_sends_only_what_is_named_and_by_patch(sandbox: Sandbox) -> None:
    before = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    updated = ChartMogulHook().update_opportunity(EXAMPLE_OPPORTUNITY_UUID, amount_in_cents=0, custom={"trial": False})
    (request,) = sandbox.requests
    assert (request.method, request.path) == ("PATCH", f"/v1/opportunities/{EXAMPLE_OPPORTUNITY_UUID}")
    assert request.body == {"amount_in_cents": 0, "custom": [{"key": "trial", "value": False}]}
    assert updated == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert updated == {
        **before,
        "amount_in_cents": 0,
        "custom": {"trial": False},
        "updated_at": updated["updated_at"],
    }


def test_update_sends_null(sandbox: Sandbox) -> None:
    ChartMogulHook().update_opportunity(EXAMPLE_OPPORTUNITY_UUID, win_likelihood=None)
    assert sandbox.requests[0].body == {"win_likelihood": None}


@pytest.mark.usefixtures("waits")
def test_update_is_sent_again_after_a_lost_response(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("reset", after_acting=True))
    updated = ChartMogulHook().update_opportunity(EXAMPLE_OPPORTUNITY_UUID, win_likelihood=41)
    assert updated["win_likelihood"] == 41
    assert [request.method for request in sandbox.requests] == ["PATCH", "PATCH"]


def test_delete_deletes(sandbox: Sandbox) -> None:
    ChartMogulHook().delete_opportunity(EXAMPLE_OPPORTUNITY_UUID)
    with pytest.raises(KeyError):
        sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)


def test_delete_takes_an_empty_response(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", status=204, body=""))
    ChartMogulHook().delete_opportunity(EXAMPLE_OPPORTUNITY_UUID)


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("kind", ["reset", "truncate"])
def test_delete_succeeds_when_its_first_response_was_lost(kind: Any, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault(kind, after_acting=True))
    ChartMogulHook().delete_opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert [request.status for request in sandbox.requests][-1] == 404


@pytest.mark.usefixtures("waits")
def test_delete_fails_when_there_never_was_one(sandbox: Sandbox) -> None:
    ChartMogulHook().delete_opportunity(EXAMPLE_OPPORTUNITY_UUID)
    sandbox.inject_fault(Fault("status", status=429))
    with pytest.raises(ChartMogulNotFoundError):
        ChartMogulHook().delete_opportunity(EXAMPLE_OPPORTUNITY_UUID)


@pytest.mark.parametrize("uuid", ["../customers", "%2e%2e", "", "a b", "4ee13ca4-e7fe-11ee-fa7f-f303abf41ac", None])
def test_what_is_no_uuid_sends_nothing(uuid: Any, sandbox: Sandbox) -> None:
    hook = ChartMogulHook()
    with pytest.raises(ValueError, match="opportunity_uuid"):
        hook.update_opportunity(uuid, currency="USD")
    with pytest.raises(ValueError, match="opportunity_uuid"):
        hook.delete_opportunity(uuid)
    assert sandbox.requests == []


def test_what_is_wrong_sends_nothing(sandbox: Sandbox) -> None:
    hook = ChartMogulHook()
    with pytest.raises(ValueError, match=r"currency: .* type: "):
        hook.create_opportunity(**{**NEW, "currency": "euro"}, type="never")
    with pytest.raises(ValueError, match="'customer_uuid': not one of owner"):
        hook.update_opportunity(EXAMPLE_OPPORTUNITY_UUID, customer_uuid=NEW["customer_uuid"])  # type: ignore[call-arg]  # which is the point
    with pytest.raises(ValueError, match="Nothing to change"):
        hook.update_opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert sandbox.requests == []

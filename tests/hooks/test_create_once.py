"""Exactly-once creation within one try, by fields."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAmbiguousCreateError,
    ChartMogulUnavailableError,
)
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import Fault
from tests.hooks.creations import KEY, LOST, Sleep, ago, assert_named, create, lose_and, posts, with_key
from tests.support.creations import LOST_RESPONSES, created_in
from tests.support.opportunities import CUSTOMER, NEW

if TYPE_CHECKING:
    from airflow_provider_chartmogul.hooks._create_once import IdempotencyKey
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs

pytestmark = pytest.mark.usefixtures("impatient_sandbox")


@pytest.mark.parametrize("key", [None, KEY], ids=["fields", "key"])
def test_a_clean_creation_sends_two_requests(key: IdempotencyKey | None, sandbox: Sandbox) -> None:
    sleep = Sleep()
    result = create(key=key, sleep=sleep)
    assert created_in(sandbox) == [result]
    assert [request.method for request in sandbox.requests] == ["GET", "POST"]
    assert sandbox.requests[0].query["customer_uuid"] == CUSTOMER
    assert sleep.seconds == []


@pytest.mark.parametrize("has_acted", [False, True])
@pytest.mark.parametrize("fault", LOST_RESPONSES)
def test_a_second_search_waits_after_each_kind_of_lost_response(
    fault: str,
    has_acted: bool,  # noqa: FBT001
    sandbox: Sandbox,
) -> None:
    sandbox.inject_fault(Fault(**LOST_RESPONSES[fault], method="POST", after_acting=has_acted))
    sleep = Sleep()
    result = create(sleep=sleep)
    assert created_in(sandbox) == [result]
    assert sleep.seconds == ([] if has_acted else [10.0])


@pytest.mark.parametrize(("timeout", "retry_after", "wait"), [(30, None, 30), (45, 50, 50), (90, None, 60), (1, 5, 10)])
def test_the_second_search_waits_for_the_timeout_or_retry_after_but_no_longer_than_a_minute(
    *, timeout: int, retry_after: int | None, wait: float, sandbox: Sandbox, connect: Connect
) -> None:
    connect(extra={"max_retries": 2, "timeout": timeout})
    sandbox.inject_fault(Fault("status", status=503, retry_after=retry_after, method="POST"))
    sleep = Sleep()
    create(sleep=sleep)
    assert sleep.seconds == [wait]


def test_it_is_found_when_the_list_lags(sandbox: Sandbox) -> None:
    sandbox.inject_fault(LOST)
    result = create(sleep=Sleep(lambda: sandbox.add_opportunity(**NEW)))
    assert created_in(sandbox) == [result]
    assert posts(sandbox) == 1


def test_what_others_create_does_not_end_the_search_before_the_second_search(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {**NEW, "pipeline_stage": "Negotiation"}
    lose_and(lambda: sandbox.add_opportunity(**others), sandbox, monkeypatch, acted=False)
    result = create(sleep=Sleep(lambda: sandbox.add_opportunity(**NEW)))
    assert result["pipeline_stage"] == "Discovery"
    assert posts(sandbox) == 1


def test_retries_are_limited(sandbox: Sandbox, logs: Logs) -> None:
    sandbox.inject_fault(Fault("status", status=502, method="POST", times=None))
    with pytest.raises(ChartMogulUnavailableError, match="HTTP 502"):
        create()
    assert posts(sandbox) == 3
    assert sum("Checking whether the opportunity was created." in message for message in logs.messages) == 3
    for retry in (1, 2):
        assert f"The opportunity was not created. Trying again (retry {retry} of 2)." in logs.messages


def test_it_is_not_sent_again_within_a_long_retry_after(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=503, retry_after=61, method="POST"))
    with pytest.raises(ChartMogulUnavailableError):
        create()
    assert posts(sandbox) == 1


def test_a_duplicate_that_appears_late_is_reported(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.inject_fault(LOST)
    original = ChartMogulHook.create_opportunity
    calls = itertools.count()

    def late(hook: ChartMogulHook, **fields: Any) -> dict[str, Any]:
        if next(calls):
            sandbox.add_opportunity(**NEW)
        return original(hook, **fields)

    monkeypatch.setattr(ChartMogulHook, "create_opportunity", late)
    with pytest.raises(ChartMogulAmbiguousCreateError) as raised:
        create()
    assert_named(raised.value, created_in(sandbox))
    assert len(created_in(sandbox)) == 2


@pytest.mark.parametrize("key", [None, KEY], ids=["fields", "key"])
def test_a_duplicate_is_recognised_although_chartmogul_rewrites_it(
    key: IdempotencyKey | None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewritten = {"owner": "Ada@Example.com", "win_likelihood": 99}
    sandbox.inject_fault(LOST)
    original = ChartMogulHook.create_opportunity
    calls = itertools.count()

    def late(hook: ChartMogulHook, **fields: Any) -> dict[str, Any]:
        if next(calls):
            sandbox.add_opportunity(**{**(with_key() if key else NEW), **rewritten})
        created = original(hook, **fields)
        return sandbox.set_opportunity(created["uuid"], **rewritten)

    monkeypatch.setattr(ChartMogulHook, "create_opportunity", late)
    with pytest.raises(ChartMogulAmbiguousCreateError) as raised:
        create(key=key)
    assert_named(raised.value, created_in(sandbox))


@pytest.mark.parametrize(
    "rewritten",
    [
        {"owner": "Ada@Example.com"},
        {"pipeline": "New Business "},
        {"estimated_close_date": "2030-01-31T00:00:00.000Z"},
        {"custom": {"seats": 3}},
        {"custom": {"source": "product", "seats": "3"}},
        {"custom": {"source": "product", "seats": 3, "by a rule": True}},
    ],
)
def test_one_that_chartmogul_may_have_rewritten_is_named_after_the_second_search(
    rewritten: dict[str, Any], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_and(lambda: sandbox.add_opportunity(**{**NEW, **rewritten}), sandbox, monkeypatch, acted=False)
    sleep = Sleep()
    with pytest.raises(ChartMogulAmbiguousCreateError, match="idempotency_attribute") as raised:
        create(sleep=sleep)
    assert_named(raised.value, created_in(sandbox))
    assert len(sleep.seconds) == 1
    assert posts(sandbox) == 1


def test_one_that_somebody_edited_meanwhile_is_named(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def edit() -> None:
        (created,) = created_in(sandbox)
        sandbox.set_opportunity(created["uuid"], amount_in_cents=1)

    lose_and(edit, sandbox, monkeypatch, acted=True)
    with pytest.raises(ChartMogulAmbiguousCreateError) as raised:
        create()
    assert_named(raised.value, created_in(sandbox))


def test_an_edit_of_what_was_not_sent_does_not_matter(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def edit() -> None:
        (created,) = created_in(sandbox)
        sandbox.set_opportunity(created["uuid"], win_likelihood=99)

    lose_and(edit, sandbox, monkeypatch, acted=True)
    result = create()
    assert created_in(sandbox) == [result]


@pytest.mark.parametrize("other", [{"amount_in_cents": 1}, {"currency": "USD"}])
def test_another_amount_or_currency_is_another_opportunity(
    other: dict[str, Any], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_and(lambda: sandbox.add_opportunity(**{**NEW, **other}), sandbox, monkeypatch, acted=False)
    result = create()
    assert result.items() >= NEW.items()
    assert len(created_in(sandbox)) == 2


def test_several_equal_ones_are_named(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_and(lambda: sandbox.add_opportunity(**NEW), sandbox, monkeypatch, acted=True)
    with pytest.raises(ChartMogulAmbiguousCreateError) as raised:
        create()
    assert_named(raised.value, created_in(sandbox))
    assert len(created_in(sandbox)) == 2
    assert "ada@example.com" not in str(raised.value)


@pytest.mark.parametrize(("count", "shown"), [(10, ""), (12, " and 2 more have its fields")])
def test_no_more_than_ten_are_named(
    *, count: int, shown: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act() -> None:
        for _ in range(count):
            sandbox.add_opportunity(**NEW)

    lose_and(act, sandbox, monkeypatch, acted=False)
    with pytest.raises(ChartMogulAmbiguousCreateError) as raised:
        create()
    assert_named(raised.value, created_in(sandbox)[:10])
    assert shown in str(raised.value)
    assert ("more" in str(raised.value)) is bool(shown)


def test_an_equal_one_from_before_is_not_taken(sandbox: Sandbox) -> None:
    old = [sandbox.add_opportunity(**NEW, created_at=ago(hours=hours)) for hours in (2, 1)]
    sandbox.inject_fault(LOST)
    result = create()
    assert [one["uuid"] for one in created_in(sandbox)] == [result["uuid"], old[1]["uuid"], old[0]["uuid"]]


def test_clocks_that_differ_do_not_matter(sandbox: Sandbox) -> None:
    # Created in the future, all at one moment, by our clock.
    ahead = ago(hours=-1)
    old = [sandbox.add_opportunity(**NEW, created_at=ahead)["uuid"] for _ in range(3)]
    sandbox.inject_fault(LOST)
    result = create()
    assert result["uuid"] not in old
    assert len(created_in(sandbox)) == 4


def test_a_creation_time_that_cannot_be_read_does_not_matter(sandbox: Sandbox) -> None:
    first = sandbox.add_opportunity(**NEW, created_at=ago(hours=1))
    sandbox.set_opportunity(first["uuid"], created_at="soon")
    sandbox.inject_fault(LOST)
    assert create()["uuid"] != first["uuid"]
    assert len(created_in(sandbox)) == 2


def test_no_page_behind_the_known_ones_is_read(sandbox: Sandbox) -> None:
    for hours in range(250):
        sandbox.add_opportunity(**NEW, created_at=ago(hours=hours + 1))
    sandbox.inject_fault(LOST)
    create()
    # Before the first request, twice after it, and once for a duplicate after the second.
    assert [request.method for request in sandbox.requests] == ["GET", "POST", "GET", "GET", "POST", "GET"]


def test_a_lost_one_whose_creation_time_cannot_be_read_is_named(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rewrite() -> None:
        (created,) = created_in(sandbox)
        sandbox.set_opportunity(created["uuid"], created_at="soon", updated_at="soon")

    lose_and(rewrite, sandbox, monkeypatch, acted=True)
    with pytest.raises(ChartMogulAmbiguousCreateError) as raised:
        create()
    assert_named(raised.value, created_in(sandbox))


def test_a_lost_one_whose_customer_is_written_in_capitals_is_named(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rewrite() -> None:
        (created,) = created_in(sandbox)
        sandbox.set_opportunity(created["uuid"], customer_uuid=CUSTOMER.upper())

    # The sandbox, unlike ChartMogul perhaps, compares the filter with what is stored.
    original = ChartMogulHook.list_opportunities
    monkeypatch.setattr(ChartMogulHook, "list_opportunities", lambda hook, **_: original(hook))
    lose_and(rewrite, sandbox, monkeypatch, acted=True)
    with pytest.raises(ChartMogulAmbiguousCreateError):
        create()
    assert posts(sandbox) == 1


def test_an_old_one_is_not_taken_although_many_newer_ones_are_deleted_meanwhile(sandbox: Sandbox) -> None:
    old = [sandbox.add_opportunity(**NEW, created_at=ago(hours=hours))["uuid"] for hours in range(12, 0, -1)]

    def delete_the_newer_ones() -> None:
        hook = ChartMogulHook()
        for uuid in old[1:]:
            hook.delete_opportunity(uuid)

    sandbox.inject_fault(LOST)
    result = create(sleep=Sleep(delete_the_newer_ones))
    assert result["uuid"] not in old
    assert [one["uuid"] for one in created_in(sandbox)] == [result["uuid"], old[0]]


def test_only_the_customers_own_are_compared(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # A server that ignores the filter lists all.
    original = ChartMogulHook.list_opportunities
    monkeypatch.setattr(ChartMogulHook, "list_opportunities", lambda hook, **_: original(hook))
    other = {**NEW, "customer_uuid": NEW["customer_uuid"].replace("6dc2f92e", "7ec2f92e")}
    lose_and(lambda: sandbox.add_opportunity(**other), sandbox, monkeypatch, acted=False)
    result = create({**NEW, "customer_uuid": NEW["customer_uuid"].upper().replace("CUS", "cus")})
    assert created_in(sandbox) == [result]


def test_equal_creations_one_after_the_other_create_one_each(sandbox: Sandbox) -> None:
    first = create()
    sandbox.inject_fault(LOST)
    second = create()
    assert created_in(sandbox) == [second, first]

"""Exactly-once creation across tries of a task."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAmbiguousCreateError,
    ChartMogulAuthenticationError,
    ChartMogulError,
    ChartMogulInvalidRequestError,
    ChartMogulPermissionError,
    ChartMogulRateLimitError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.sandbox import Fault
from tests.airflow.stand_ins import tries
from tests.hooks.creations import KEY, LOST, LOST_AFTER_ACTING, Sleep, Store, ago, assert_named, create, posts
from tests.support.creations import WorkerKilledError, after_creating, created_in, kill
from tests.support.opportunities import CUSTOMER, NEW

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow_provider_chartmogul.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("impatient_sandbox")


# With a record of the earlier try


def test_the_name_of_the_note_is_that_of_earlier_versions(sandbox: Sandbox) -> None:
    store = Store()
    result = create(store=store)
    assert store == {"created_opportunity": {"uuid": result["uuid"]}}
    assert created_in(sandbox) == [result]


def test_a_note_precedes_the_first_request(sandbox: Sandbox) -> None:
    class FullDisk(Store):
        def set(self, key: str, value: Any, *, retention: timedelta) -> None:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        create(store=FullDisk())
    assert sandbox.requests == []


@pytest.mark.parametrize("has_acted", [False, True])
def test_a_killed_try_is_searched_for_by_what_it_sent(
    has_acted: bool,  # noqa: FBT001
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    sandbox.inject_fault(Fault("reset", method="POST", after_acting=has_acted))
    after_creating(monkeypatch, kill)
    with pytest.raises(WorkerKilledError):
        create(store=store)
    result = create({**NEW, "amount_in_cents": 5}, store=store)
    assert created_in(sandbox) == [result]
    assert result["amount_in_cents"] == (NEW["amount_in_cents"] if has_acted else 5)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("status", status=401, method="POST"), ChartMogulAuthenticationError),
        (Fault("status", status=422, method="POST"), ChartMogulInvalidRequestError),
        (Fault("status", status=429, retry_after=61, method="POST"), ChartMogulRateLimitError),
    ],
)
def test_after_a_definite_refusal_there_is_nothing_to_search_for(
    fault: Fault, error: type[ChartMogulError], sandbox: Sandbox
) -> None:
    store = Store()
    sandbox.inject_fault(fault)
    with pytest.raises(error):
        create(store=store)
    sandbox.add_opportunity(**NEW)
    sleep = Sleep()
    result = create(store=store, tries=tries(), sleep=sleep)
    assert created_in(sandbox)[0] == result
    assert len(created_in(sandbox)) == 2
    assert sleep.seconds == []


def test_a_refusal_of_a_retry_leaves_the_lost_request_to_search_for(sandbox: Sandbox) -> None:
    store = Store()
    sandbox.inject_fault(LOST)
    sandbox.inject_fault(Fault("status", status=401, method="POST"))
    with pytest.raises(ChartMogulAuthenticationError):
        create(store=store)
    late = sandbox.add_opportunity(**NEW)
    assert create(store=store, tries=tries()) == late


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_refusal_of_a_later_try_leaves_the_lost_request_to_search_for(
    is_recorded: bool,  # noqa: FBT001
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    sandbox.inject_fault(LOST)
    after_creating(monkeypatch, kill)
    with pytest.raises(WorkerKilledError):
        create(store=store)
    if not is_recorded:
        store.clear()
    sandbox.inject_fault(Fault("status", status=401, method="POST"))
    with pytest.raises(ChartMogulAuthenticationError):
        create(store=store, tries=tries())
    json.dumps(store, allow_nan=False)
    late = sandbox.add_opportunity(**NEW)
    assert create(store=store, tries=tries()) == late
    assert created_in(sandbox) == [late]


def test_a_try_that_sent_nothing_leaves_nothing_to_search_for(sandbox: Sandbox) -> None:
    store = Store()
    sandbox.inject_fault(Fault("reset", method="GET", times=3))
    with pytest.raises(ChartMogulUnreachableError):
        create(store=store)
    sandbox.add_opportunity(**NEW)
    create(store=store, tries=tries())
    assert len(created_in(sandbox)) == 2


def test_a_created_one_is_returned_as_it_is_now(sandbox: Sandbox) -> None:
    store = Store()
    created = create(store=store)
    changed = sandbox.set_opportunity(created["uuid"], amount_in_cents=1)
    sandbox.add_opportunity(**NEW)
    assert create(store=store, tries=tries()) == changed
    assert posts(sandbox) == 1


def test_a_created_one_that_was_deleted_is_created_again_and_its_note_is_forgotten(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    created = create(store=store)
    sandbox.remove_opportunity(created["uuid"])
    anothers = sandbox.add_opportunity(**NEW)
    sandbox.inject_fault(LOST)
    after_creating(monkeypatch, kill)
    with pytest.raises(WorkerKilledError):
        create(store=store, tries=tries())
    again = create(store=store, tries=tries())
    assert created_in(sandbox) == [again, anothers]


def test_a_created_one_is_not_created_again_while_it_cannot_be_retrieved(sandbox: Sandbox) -> None:
    store = Store()
    result = create(store=store)
    sandbox.inject_fault(Fault("status", status=403, method="GET"))
    with pytest.raises(ChartMogulPermissionError):
        create(store=store)
    assert created_in(sandbox) == [result]


def test_the_case_of_the_customers_uuid_does_not_matter(sandbox: Sandbox) -> None:
    store = Store()
    uuid = create(store=store)["uuid"]
    sandbox.set_opportunity(uuid, customer_uuid=CUSTOMER.upper())
    assert create(store=store)["uuid"] == uuid


def test_a_created_one_of_another_customer_is_named() -> None:
    # A mapped task whose list has another order than in the earlier try.
    store = Store()
    created = create(store=store)
    other = {**NEW, "customer_uuid": NEW["customer_uuid"].replace("6dc2f92e", "7ec2f92e")}
    with pytest.raises(ChartMogulAmbiguousCreateError, match="by an earlier try, for another customer") as raised:
        create(other, store=store)
    assert_named(raised.value, [created])


@pytest.mark.parametrize(("minutes", "is_trusted"), [(14, True), (15.5, False)])
def test_an_equal_one_that_was_created_long_after_the_try_is_named(
    *, minutes: float, is_trusted: bool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    sandbox.inject_fault(LOST)
    after_creating(monkeypatch, kill)
    with pytest.raises(WorkerKilledError):
        create(store=store)
    later = sandbox.add_opportunity(**NEW, created_at=ago(minutes=-minutes))
    if is_trusted:
        assert create(store=store) == later
    else:
        with pytest.raises(ChartMogulAmbiguousCreateError) as raised:
            create(store=store)
        assert_named(raised.value, [later])


def test_a_note_without_the_key_does_not_hide_a_lost_request(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # The DAG's author adds the attribute between two tries.
    sandbox.add_opportunity(custom={KEY.attribute: "10d6e2a8-6d38-5b0b-8a3c-0f4b9f6f9a11"})
    store = Store()
    sandbox.inject_fault(LOST_AFTER_ACTING)
    after_creating(monkeypatch, kill)
    with pytest.raises(WorkerKilledError):
        create(store=store)
    assert created_in(sandbox) == [create(store=store, key=KEY)]


# Without a record


@pytest.mark.parametrize(("minutes", "is_compared"), [(0.5, True), (2, False)])
def test_nothing_from_before_the_run_is_compared_but_for_the_difference_of_clocks(
    *, minutes: float, is_compared: bool, sandbox: Sandbox
) -> None:
    old = sandbox.add_opportunity(**NEW, created_at=ago(minutes=minutes))
    result = create(tries=tries())
    assert (result == old) is is_compared
    assert len(created_in(sandbox)) == (1 if is_compared else 2)


def test_an_equal_one_of_the_run_is_taken(sandbox: Sandbox) -> None:
    created = sandbox.add_opportunity(**NEW)
    assert create(tries=tries(hours=1)) == created


def test_an_equal_one_from_before_the_run_was_cleared_is_named(sandbox: Sandbox) -> None:
    created = sandbox.add_opportunity(**NEW, created_at=ago(minutes=2))
    with pytest.raises(ChartMogulAmbiguousCreateError) as raised:
        create(tries=tries(hours=1))
    assert_named(raised.value, [created])
    sandbox.add_opportunity(**NEW)
    with pytest.raises(ChartMogulAmbiguousCreateError) as raised:
        create(tries=tries(hours=1))
    assert_named(raised.value, created_in(sandbox))


def test_a_try_without_a_note_searches_twice(sandbox: Sandbox) -> None:
    sleep = Sleep(lambda: sandbox.add_opportunity(**NEW))
    assert create(tries=tries(hours=1), sleep=sleep) == created_in(sandbox)[0]
    assert len(sleep.seconds) == 1
    assert posts(sandbox) == 0

"""The triggers of asset watchers, with the sandbox; test_change_properties tests any sequence of changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault
from airflow_provider_chartmogul.triggers.opportunity import (
    OpportunityEventTrigger,
    OpportunityForecastCategoryEventTrigger,
)
from tests.polling.virtual_account import VirtualStore
from tests.support.airflow_versions import needs_watchers
from tests.support.docs_pages import BLOCKS
from tests.support.waits import INTERVAL, eventually, make_open, polls_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.triggers.base import TriggerEvent

    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect

pytestmark = [needs_watchers, pytest.mark.asyncio]

Trigger = OpportunityEventTrigger


@contextlib.asynccontextmanager
async def watching(trigger: Trigger, store: Any = None) -> AsyncIterator[list[TriggerEvent]]:
    """Run an event trigger like a triggerer; yield the list that receives its events."""
    trigger.asset_state_store = store
    events: list[TriggerEvent] = []

    async def collect() -> None:
        async for event in trigger.run():
            events.append(event)  # noqa: PERF401  # the test reads the list concurrently

    task = asyncio.create_task(collect())
    try:
        yield events
        assert not task.done(), "The trigger returned."
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def quick(**kwargs: Any) -> OpportunityEventTrigger:
    return OpportunityEventTrigger(poll_interval=INTERVAL, **kwargs)


def on_category(**kwargs: Any) -> OpportunityForecastCategoryEventTrigger:
    return OpportunityForecastCategoryEventTrigger(poll_interval=INTERVAL, **kwargs)


async def rounds(sandbox: Sandbox, count: int = 2) -> None:
    """Wait for the start of a number of poll rounds; an earlier change is found in all but the first."""
    begun = polls_of(sandbox).count("first page")
    await eventually(lambda: polls_of(sandbox).count("first page") >= begun + count)


def documented_payload() -> dict[str, Any]:
    (payload,) = (json.loads(block.text) for block in BLOCKS if '"schema_version"' in block.text)
    return dict(payload)


async def test_an_event_says_what_changed_from_what_and_when(sandbox: Sandbox) -> None:
    async with watching(on_category()) as events:
        await rounds(sandbox)
        before = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
        after = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
        await eventually(lambda: events)
        (event,) = events
        assert event.payload.keys() == documented_payload().keys()
        observed_at = datetime.fromisoformat(event.payload.pop("observed_at"))
        assert event.payload == {
            "schema_version": 2,
            "event": "changed",
            "opportunity_uuid": EXAMPLE_OPPORTUNITY_UUID,
            "customer_uuid": after["customer_uuid"],
            "changes": {"forecast_category": {"previous": before["forecast_category"], "current": "won"}},
            "updated_at": after["updated_at"],
        }
        assert observed_at > datetime.fromisoformat(after["updated_at"])


async def test_existing_opportunities_produce_no_events_even_in_a_target_category(sandbox: Sandbox) -> None:
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
    async with watching(on_category(target_categories="won")) as events:
        await rounds(sandbox, 3)
        assert events == []


async def test_an_opportunity_that_is_created_in_a_target_category_is_an_event_and_others_are_none(
    sandbox: Sandbox,
) -> None:
    async with watching(on_category(target_categories="won")) as events:
        await rounds(sandbox)
        sandbox.add_opportunity(forecast_category="pipeline")
        new = sandbox.add_opportunity(forecast_category="won")
        await eventually(lambda: events)
        sandbox.remove_opportunity(new["uuid"])
        await rounds(sandbox)
        assert [(event.payload["event"], event.payload["opportunity_uuid"]) for event in events] == [
            ("created", new["uuid"])
        ]
        assert events[0].payload["changes"] == {"forecast_category": {"previous": None, "current": "won"}}


async def test_creation_change_and_deletion_are_events_of_their_own(sandbox: Sandbox) -> None:
    async with watching(quick()) as events:
        await rounds(sandbox)
        new = sandbox.add_opportunity()
        await eventually(lambda: len(events) == 1)
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, amount_in_cents=1)
        await eventually(lambda: len(events) == 2)
        sandbox.remove_opportunity(new["uuid"])
        await eventually(lambda: len(events) == 3)
        assert [(each.payload["event"], each.payload["opportunity_uuid"]) for each in events] == [
            ("created", new["uuid"]),
            ("changed", EXAMPLE_OPPORTUNITY_UUID),
            ("deleted", new["uuid"]),
        ]
        assert [each.payload["changes"]["updated_at"]["current"] for each in events] == [
            new["updated_at"],
            sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)["updated_at"],
            None,
        ]
        assert events[2].payload["changes"]["updated_at"]["previous"] == new["updated_at"]


async def test_an_edit_of_other_fields_is_no_event(sandbox: Sandbox) -> None:
    async with watching(quick(fields=["pipeline_stage", "custom.seats"])) as events:
        await rounds(sandbox)
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, amount_in_cents=1, forecast_category="won")
        await rounds(sandbox, 3)
        assert events == []
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, custom={"seats": 5})
        await eventually(lambda: events)
        assert events[0].payload["changes"]["custom.seats"]["current"] == 5
        assert events[0].payload["changes"].keys() == {"pipeline_stage", "custom.seats"}


@pytest.mark.parametrize(
    ("filters", "ours", "theirs"),
    [
        (
            {"customer_uuid": "cus_00000000-0000-4000-8000-000000000001"},
            {"customer_uuid": "cus_00000000-0000-4000-8000-000000000001"},
            {"customer_uuid": "cus_00000000-0000-4000-8000-000000000002"},
        ),
        *(
            ({field: "our@choice"}, {field: "our@choice"}, {field: "another@choice"})
            for field in ("owner", "pipeline", "pipeline_stage")
        ),
        *(
            ({f"estimated_close_date_on_or_{side}": "2026-06-01"}, {"estimated_close_date": date}, other)
            for side, date in (("after", "2026-06-02"), ("before", "2026-05-30"))
            for other in (
                {"estimated_close_date": None},
                {"estimated_close_date": "2026-05-31" if side == "after" else "2026-06-02"},
            )
        ),
    ],
    ids=str,
)
async def test_filters_leave_out_opportunities_that_do_not_match(
    filters: Any, ours: dict[str, Any], theirs: dict[str, Any], sandbox: Sandbox
) -> None:
    our_uuid, their_uuid = make_open(sandbox)[:2]
    sandbox.set_opportunity(our_uuid, **ours)
    sandbox.set_opportunity(their_uuid, **theirs)
    async with watching(on_category(filters=filters)) as events:
        await rounds(sandbox)
        sandbox.set_opportunity(their_uuid, forecast_category="won")
        await rounds(sandbox)
        sandbox.set_opportunity(our_uuid, forecast_category="won")
        await eventually(lambda: events)
        assert [event.payload["opportunity_uuid"] for event in events] == [our_uuid]


async def test_chosen_opportunities_are_polled_singly_and_others_not_at_all(sandbox: Sandbox) -> None:
    chosen, other = make_open(sandbox)[:2]
    async with watching(on_category(opportunity_uuids=chosen.upper())) as events:
        await eventually(lambda: len(sandbox.requests) >= 2)
        for uuid in (other, chosen):
            sandbox.set_opportunity(uuid, forecast_category="won")
        await eventually(lambda: events)
        assert [event.payload["opportunity_uuid"] for event in events] == [chosen]
        assert set(polls_of(sandbox)) == {chosen}


async def test_an_owner_is_in_the_payload_only_if_watched_and_never_in_the_line_that_airflow_logs(
    sandbox: Sandbox,
) -> None:
    async with watching(quick()) as events, watching(quick(fields="owner", target_values="b@x.org")) as of_owner:
        await rounds(sandbox)
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, owner="b@x.org")
        await eventually(lambda: events and of_owner)
        assert "@" not in str(events[0].payload)
        assert of_owner[0].payload["changes"]["owner"]["current"] == "b@x.org"
        for event in (*events, *of_owner):
            assert "@" not in f"{event} {event!r}"
            assert EXAMPLE_OPPORTUNITY_UUID in str(event)


@pytest.mark.parametrize(
    "fault", [Fault("status", status=503), Fault("reset"), Fault("html"), Fault("truncate")], ids=str
)
async def test_a_change_during_a_transient_fault_is_not_lost(fault: Fault, sandbox: Sandbox) -> None:
    async with watching(on_category()) as events:
        await rounds(sandbox)
        sandbox.inject_fault(fault)
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
        await eventually(lambda: events)
        assert len(events) == 1


async def test_a_rejected_key_is_logged_once_with_the_fix_and_so_is_the_recovery(
    sandbox: Sandbox, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with watching(on_category(name="category")) as events:
        await rounds(sandbox)
        sandbox.rotate_api_key("another-key")
        await eventually(lambda: "Check the API key" in caplog.text)
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
        connect(password="another-key")
        await eventually(lambda: events)
        await eventually(lambda: "works again" in caplog.text)
    lines = [record.getMessage() for record in caplog.records if "category" in record.getMessage()]
    lines = [line for line in lines if "a round takes" not in line]
    assert len(lines) == 3
    assert lines[0].startswith("Watcher category on connection chartmogul_default: no snapshot")
    assert lines[1].startswith("Connection chartmogul_default (watchers: category): all requests fail")
    assert lines[2].startswith("Connection chartmogul_default (watchers: category) works again after ")


async def test_a_change_made_while_no_triggerer_ran_is_found_by_a_watcher_with_other_settings_and_the_same_name(
    sandbox: Sandbox,
) -> None:
    store = VirtualStore()
    async with watching(on_category(name="category"), store):
        await rounds(sandbox, 3)
        await eventually(lambda: store.values)
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
    edited = OpportunityForecastCategoryEventTrigger(
        name="category", target_categories=["won", "lost"], poll_interval=INTERVAL / 2
    )
    async with watching(edited, store) as events:
        await eventually(lambda: events)
        assert events[0].payload["changes"]["forecast_category"]["previous"] == "best_case"
    assert len(store.values) == 1


async def test_watchers_of_an_asset_with_other_settings_and_no_name_have_snapshots_of_their_own(
    sandbox: Sandbox,
) -> None:
    store = VirtualStore()
    async with (
        watching(on_category(target_categories="won"), store),
        watching(on_category(target_categories="lost"), store),
        watching(quick(), store),
    ):
        await eventually(lambda: len(store.values) == 3)
    async with watching(OpportunityForecastCategoryEventTrigger(target_categories="won", poll_interval=0.3), store):
        await rounds(sandbox, 2)
    assert len(store.values) == 3, "The interval is no part of a snapshot's identity."


class TwoAssets:
    """The stores of two assets that share a trigger, as passed by Airflow."""

    def __init__(self) -> None:
        self._by_name = {"won": VirtualStore(), "lost": VirtualStore()}
        self._by_uri: dict[str, VirtualStore] = {}


async def test_two_assets_that_share_a_trigger_keep_one_snapshot_and_name_the_watcher(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    assets = TwoAssets()
    async with watching(on_category(), assets):
        await eventually(lambda: assets._by_name["lost"].values)
        sandbox.rotate_api_key("another-key")
        await eventually(lambda: "Watcher lost, won on connection chartmogul_default: " in caplog.text)
    assert not assets._by_name["won"].values


async def test_a_watcher_without_a_name_and_an_asset_is_named_by_its_class(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(quick()):
        sandbox.rotate_api_key("another-key")
        await eventually(lambda: "Watcher OpportunityEventTrigger on connection" in caplog.text)

"""The trigger that drives an asset watcher; whatever sequence of changes there is, is in test_event_properties."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault
from airflow_provider_chartmogul.triggers import _events as module
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryEventTrigger
from tests.support.airflow_versions import needs_watchers
from tests.support.virtual_account import VirtualStore
from tests.support.waits import INTERVAL, eventually, looks, make_open, run, trigger_for, waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs


@pytest.fixture(autouse=True)
def _quick_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS_UNTIL_EVENTS_MAKE_A_RUN", 0.05)


@contextlib.asynccontextmanager
async def watching(store: Any = None, **kwargs: Any) -> AsyncIterator[list[dict[str, Any]]]:
    """Let an event trigger run as a triggerer does; enter with the list that its events' payloads go to."""
    trigger = OpportunityForecastCategoryEventTrigger(**{"poll_interval": INTERVAL, **kwargs})
    trigger.asset_state_store = store
    payloads: list[dict[str, Any]] = []

    async def collect() -> None:
        async for event in trigger.run():
            payloads.append(event.payload)  # noqa: PERF401  # seen by the test while this goes on

    task = asyncio.create_task(collect())
    try:
        yield payloads
        assert not task.done(), "The trigger returned."
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def rounds(sandbox: Sandbox, count: int = 2) -> None:
    """Let so many rounds of polling begin; what was there before is seen in all but the first of them."""
    begun = looks(sandbox).count("first page")
    await eventually(lambda: looks(sandbox).count("first page") >= begun + count)


@needs_watchers
def test_an_event_says_what_changed_from_what_and_when(sandbox: Sandbox) -> None:
    async def test() -> None:
        async with watching() as payloads:
            await rounds(sandbox)
            after = sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
            await eventually(lambda: payloads)
            observed_at = payloads[0].pop("observed_at")
            assert payloads == [
                {
                    "schema_version": 1,
                    "opportunity_uuid": EXAMPLE_OPPORTUNITY_UUID,
                    "customer_uuid": after["customer_uuid"],
                    "previous_forecast_category": "best_case",
                    "forecast_category": "won",
                    "updated_at": after["updated_at"],
                }
            ]
            assert observed_at > after["updated_at"]

    run(test())


@needs_watchers
def test_what_is_there_at_first_sight_makes_no_event_even_in_a_target_category(sandbox: Sandbox) -> None:
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")

    async def test() -> None:
        async with watching(target_categories="won") as payloads:
            await rounds(sandbox, 3)
            assert payloads == []

    run(test())


@needs_watchers
def test_a_new_opportunity_is_a_change_from_null_if_it_is_in_a_target_category(sandbox: Sandbox) -> None:
    async def test() -> None:
        async with watching(target_categories=["won", "lost"]) as payloads:
            await rounds(sandbox)
            sandbox.add_opportunity(forecast_category="pipeline")
            won = sandbox.add_opportunity(forecast_category="won")
            await rounds(sandbox)
            await eventually(lambda: payloads)
            assert [(one["opportunity_uuid"], one["previous_forecast_category"]) for one in payloads] == [
                (won["uuid"], None)
            ]

    run(test())


@needs_watchers
def test_an_edit_that_leaves_the_category_alone_makes_no_event(sandbox: Sandbox) -> None:
    async def test() -> None:
        async with watching() as payloads:
            await rounds(sandbox)
            sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, amount_in_cents=1, pipeline_stage="Negotiation")
            await rounds(sandbox, 3)
            assert payloads == []

    run(test())


@needs_watchers
@pytest.mark.parametrize("field", ["customer_uuid", "owner", "pipeline", "pipeline_stage"])
def test_filters_leave_out_what_does_not_match_them(field: str, sandbox: Sandbox) -> None:
    ours, other = make_open(sandbox)[:2]
    sandbox.set_opportunity(ours, **{field: "our@choice"})
    sandbox.set_opportunity(other, **{field: "another@choice"})

    async def test() -> None:
        async with watching(**{field: "our@choice"}) as payloads:
            await rounds(sandbox)
            for uuid in (other, ours):
                sandbox.set_opportunity(uuid, forecast_category="won")
            await eventually(lambda: payloads)
            await rounds(sandbox)
            assert [one["opportunity_uuid"] for one in payloads] == [ours]

    run(test())


@needs_watchers
def test_chosen_opportunities_are_looked_at_singly_and_others_not_at_all(sandbox: Sandbox) -> None:
    chosen, deleted, other = make_open(sandbox)[:3]

    async def test() -> None:
        async with watching(opportunity_uuids=[deleted, chosen.upper()]) as payloads:
            await eventually(lambda: len(sandbox.requests) >= 4)
            sandbox.remove_opportunity(deleted)
            for uuid in (other, chosen):
                sandbox.set_opportunity(uuid, forecast_category="won")
            await eventually(lambda: payloads)
            assert [one["opportunity_uuid"] for one in payloads] == [chosen]
            assert set(looks(sandbox)) == {chosen, deleted}

    run(test())


@needs_watchers
def test_ten_watchers_and_a_thousand_waits_share_one_sweep_per_interval(connect: Connect, sandbox: Sandbox) -> None:
    connect(extra={"max_requests_per_second": 1000})
    uuids = [sandbox.add_opportunity(forecast_category="pipeline")["uuid"] for _ in range(1000)]

    async def test() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for number in range(10):
                await stack.enter_async_context(watching(name=str(number), poll_interval=1))
            await stack.enter_async_context(waiting(trigger_for(uuid, poll_interval=1) for uuid in uuids))
            await rounds(sandbox, 4)
            sweep = ["first page", *["page"] * 5]
            assert looks(sandbox)[:18] == sweep * 3

    run(test())


@needs_watchers
@pytest.mark.parametrize(
    "fault", [Fault("status", status=503), Fault("reset"), Fault("html"), Fault("truncate")], ids=str
)
def test_a_change_during_a_transient_fault_is_not_lost(fault: Fault, sandbox: Sandbox) -> None:
    async def test() -> None:
        async with watching() as payloads:
            await rounds(sandbox)
            sandbox.inject_fault(fault)
            sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
            await eventually(lambda: payloads)
            assert len(payloads) == 1

    run(test())


@needs_watchers
def test_a_rejected_key_is_reported_with_the_fix_and_watching_recovers_when_it_is_mended(
    sandbox: Sandbox, connect: Connect, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_chartmogul._polling.engine._LONGEST_BACKOFF", 0.5)

    async def test() -> None:
        async with watching() as payloads:
            await rounds(sandbox)
            sandbox.rotate_api_key("another-key")
            await eventually(lambda: "Check the API key" in "".join(logs.messages))
            sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
            requests = len(sandbox.requests)
            await asyncio.sleep(1)
            assert len(sandbox.requests) - requests <= 8
            connect(password="another-key")
            await eventually(lambda: payloads)
            assert len([message for message in logs.messages if "The watching goes on" in message]) == 1

    run(test())


@needs_watchers
def test_a_change_made_while_nothing_ran_is_found_in_what_airflow_kept(sandbox: Sandbox) -> None:
    store = VirtualStore()

    async def test() -> None:
        async with watching(store, target_categories="won"):
            await rounds(sandbox, 3)
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
        async with watching(store, target_categories="won") as payloads:
            await eventually(lambda: payloads)
            await rounds(sandbox)
        async with watching(store, target_categories="won") as repeated:
            await rounds(sandbox, 3)
            assert [one["previous_forecast_category"] for one in payloads] == ["best_case"]
            assert repeated == []

    run(test())


@needs_watchers
def test_what_was_deleted_is_forgotten(sandbox: Sandbox) -> None:
    store = VirtualStore()

    async def test() -> None:
        async with watching(store):
            await rounds(sandbox, 3)
            assert EXAMPLE_OPPORTUNITY_UUID.replace("-", "") in json.dumps(store.values)
            sandbox.remove_opportunity(EXAMPLE_OPPORTUNITY_UUID)
            await eventually(lambda: EXAMPLE_OPPORTUNITY_UUID.replace("-", "") not in json.dumps(store.values))

    run(test())


@needs_watchers
@pytest.mark.parametrize("damage", ["text", {"won": "not hexadecimal"}, {"won": 5}, ["won"], {"won": "abc"}], ids=str)
def test_a_damaged_part_of_what_was_kept_is_reported_once_and_replaced_without_events(
    damage: Any, sandbox: Sandbox, logs: Logs
) -> None:
    store = VirtualStore()

    async def test() -> None:
        async with watching(store):
            await rounds(sandbox, 3)
        damaged = next(key for key, value in store.values.items() if EXAMPLE_OPPORTUNITY_UUID[:8] in json.dumps(value))
        store.values[damaged] = damage
        async with watching(store) as payloads:
            await rounds(sandbox, 3)
            await eventually(lambda: EXAMPLE_OPPORTUNITY_UUID[:8] in json.dumps(store.values[damaged]))
            sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
            await eventually(lambda: payloads)
            assert [one["previous_forecast_category"] for one in payloads] == ["best_case"]
        assert len([message for message in logs.messages if "is damaged" in message]) == 1

    run(test())


@needs_watchers
@pytest.mark.parametrize("head", ["text", {"version": 99}, {}, 7], ids=str)
def test_what_another_program_or_version_kept_is_reported_and_replaced(head: Any, sandbox: Sandbox, logs: Logs) -> None:
    store = VirtualStore()

    async def test() -> None:
        async with watching(store):
            await rounds(sandbox, 3)
        (key,) = [key for key in store.values if key.count(".") == 1]
        store.values[key] = head
        async with watching(store) as payloads:
            await eventually(lambda: store.values[key] == {"version": 1})
            assert payloads == []
        assert any("starting anew" in message for message in logs.messages)

    run(test())


class TwoAssets:
    """The stores of two assets that share a trigger, as Airflow hands them over."""

    def __init__(self) -> None:
        self._by_name = {"b": VirtualStore(), "a": VirtualStore()}
        self._by_uri: dict[str, VirtualStore] = {}

    def get(self, _key: str) -> Any:
        raise ValueError("Task has 2 concrete inlets and outlets")

    set = get


@needs_watchers
def test_two_assets_that_share_a_trigger_keep_one_memory(sandbox: Sandbox) -> None:
    stores = TwoAssets()

    async def test() -> None:
        async with watching(stores):
            await rounds(sandbox, 3)
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
        async with watching(stores) as payloads:
            await eventually(lambda: payloads)
        assert not stores._by_name["b"].values

    run(test())


@needs_watchers
def test_a_memory_is_found_again_after_another_asset_joined_the_trigger(sandbox: Sandbox) -> None:
    stores = TwoAssets()

    async def test() -> None:
        async with watching(stores._by_name["b"]):
            await rounds(sandbox, 3)
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
        async with watching(stores) as payloads:
            await eventually(lambda: payloads)

    run(test())


class FailingStore(VirtualStore):
    """A store that fails at first, and whenever it is told to."""

    failures = 2

    def get(self, key: str) -> Any:
        self._fail()
        return super().get(key)

    def set(self, key: str, value: Any) -> None:
        self._fail()
        super().set(key, value)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the API server is restarting")


@needs_watchers
def test_a_store_that_fails_is_asked_again_rather_than_taken_for_empty(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LOADS", 0.1)
    store = FailingStore()

    async def test() -> None:
        async with watching(store):
            await eventually(lambda: sandbox.requests)
            store.failures = 1
            await rounds(sandbox, 3)
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
        store.failures = 1
        async with watching(store) as payloads:
            await eventually(lambda: payloads)

    run(test())


@needs_watchers
def test_watchers_with_other_targets_keep_memories_of_their_own(sandbox: Sandbox) -> None:
    store = VirtualStore()

    async def test() -> None:
        async with watching(store, target_categories="won"), watching(store, target_categories="lost"):
            await rounds(sandbox, 3)
        sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
        async with watching(store, target_categories="lost"):
            await rounds(sandbox, 3)
        async with watching(store, target_categories="won") as payloads:
            await eventually(lambda: payloads)

    run(test())

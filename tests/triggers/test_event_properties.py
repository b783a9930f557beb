"""Whatever happens to an account and to a triggerer, changes become events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from airflow_provider_chartmogul._polling import engine as watch
from airflow_provider_chartmogul._polling import snapshot_store as forecast_memory
from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryEventTrigger
from tests.support.airflow_versions import IS_AIRFLOW_3
from tests.support.virtual_account import VirtualAccount, VirtualConnection, VirtualStore, run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.triggers.base import TriggerEvent

pytestmark = pytest.mark.skipif(not IS_AIRFLOW_3, reason="Airflow 2 has no asset watchers")

INTERVAL = 60.0
UNTIL_SAVED = 15.0
BEFORE_SAVED = 1.0
UNTIL_LAST_OF_SEVERAL = 10.0

CATEGORIES = st.sampled_from([category.value for category in ForecastCategory])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), CATEGORIES),
        st.tuples(st.just("change"), st.integers(0, 9), CATEGORIES),
        st.tuples(st.just("delete"), st.integers(0, 9)),
        st.tuples(st.just("poll")),
        st.tuples(st.just("outage"), st.integers(1, 3)),
        st.tuples(st.just("restart")),
        st.tuples(st.just("crash")),
    ),
    max_size=30,
)

Change = tuple[str, str | None, str | None]


async def end_of_look(account: VirtualAccount) -> None:
    """Wait until the whole account was looked at once more."""
    looks = account.looks
    while account.looks == looks:
        await asyncio.sleep(0.5)


class World:
    """An account, a triggerer that watches it, and what is to be expected of that."""

    def __init__(self, targets: list[str] | None) -> None:
        self.account = VirtualAccount()
        self.store = VirtualStore()
        self.targets = targets
        self.events: list[Change] = []
        self.expected: list[Change] = []
        self._known: dict[str, str | None] | None = None
        self._saved: dict[str, str | None] | None = None
        self._created = 0

    async def live_through(self, steps: list[tuple[Any, ...]]) -> None:
        self._start()
        await self._poll(UNTIL_SAVED)
        for name, *arguments in steps:
            await getattr(self, f"_{name}")(*arguments)
        await self._poll(UNTIL_SAVED)
        await self._stop()

    async def _create(self, category: str) -> None:
        self._created += 1
        self.account.categories[str(UUID(int=self._created))] = category

    async def _change(self, index: int, category: str) -> None:
        if uuid := self._pick(index):
            self.account.categories[uuid] = category

    async def _delete(self, index: int) -> None:
        if uuid := self._pick(index):
            del self.account.categories[uuid]

    async def _outage(self, intervals: int) -> None:
        self.account.is_down = True
        await asyncio.sleep(intervals * INTERVAL)
        self.account.is_down = False
        await self._poll(UNTIL_SAVED)

    async def _restart(self) -> None:
        await self._stop()
        self._start()
        await self._poll(UNTIL_SAVED)

    async def _crash(self) -> None:
        await self._poll(BEFORE_SAVED)
        await self._stop()
        self._known = self._saved
        self._start()
        await self._poll(UNTIL_SAVED)

    async def _poll(self, seconds: float = UNTIL_SAVED) -> None:
        await end_of_look(self.account)
        now = dict(self.account.categories)
        changes = self._changes_to(now)
        await asyncio.sleep(seconds + (UNTIL_LAST_OF_SEVERAL if len(changes) > 1 else 0))
        self.expected += changes
        self._known = now
        if seconds == UNTIL_SAVED or not changes:
            self._saved = now

    def _changes_to(self, now: dict[str, str | None]) -> list[Change]:
        if self._known is None:
            return []
        return [
            (uuid, self._known.get(uuid), category)
            for uuid, category in now.items()
            if category != self._known.get(uuid) and (self.targets is None or category in self.targets)
        ]

    def _pick(self, index: int) -> str | None:
        uuids = list(self.account.categories)
        return uuids[index % len(uuids)] if uuids else None

    def _start(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    async def _stop(self) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self) -> None:
        trigger = OpportunityForecastCategoryEventTrigger(target_categories=self.targets, poll_interval=INTERVAL)
        trigger.asset_state_store = self.store  # type: ignore[assignment]  # has what is used of it
        async for event in trigger.run():
            payload = event.payload
            self.events.append(
                (payload["opportunity_uuid"], payload["previous_forecast_category"], payload["forecast_category"])
            )


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let stores be called without a thread, which virtual time would not wait for."""

    def call_at_once(function: Any) -> Any:
        async def call(*args: Any) -> Any:
            return function(*args)

        return call

    monkeypatch.setattr(forecast_memory, "sync_to_async", call_at_once)
    return monkeypatch


@pytest.mark.parametrize("targets", [None, ["won"], ["lost", "won"]], ids=str)
def test_every_change_that_a_poll_shows_becomes_one_event_and_nothing_else_does(
    targets: list[str] | None, in_this_process: pytest.MonkeyPatch
) -> None:
    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(steps=STEPS)
    def check(steps: list[tuple[Any, ...]]) -> None:
        world = World(targets)
        in_this_process.setattr(watch, "PacedConnection", lambda _: VirtualConnection(world.account))
        run_in_virtual_time(world.live_through(steps))
        assert Counter(world.events) == Counter(world.expected)

    check()


@contextlib.asynccontextmanager
async def watching(store: VirtualStore) -> AsyncIterator[list[TriggerEvent]]:
    """Let a trigger see the account for the first time; enter with the list that its events go to."""
    events: list[TriggerEvent] = []

    async def collect() -> None:
        trigger = OpportunityForecastCategoryEventTrigger(poll_interval=INTERVAL)
        trigger.asset_state_store = store  # type: ignore[assignment]  # has what is used of it
        async for event in trigger.run():
            events.append(event)  # noqa: PERF401  # it never ends

    task = asyncio.create_task(collect())
    await asyncio.sleep(INTERVAL / 2)
    yield events
    task.cancel()


def test_of_several_changes_the_last_comes_after_the_others_had_time_to_make_a_run(
    in_this_process: pytest.MonkeyPatch,
) -> None:
    account = VirtualAccount({str(UUID(int=number)): "pipeline" for number in range(50_000)})
    in_this_process.setattr(watch, "PacedConnection", lambda _: VirtualConnection(account))
    store = VirtualStore()

    async def test() -> None:
        async with watching(store) as events:
            won = list(account.categories)[1_000::15_000]
            account.categories.update(dict.fromkeys(won, "won"))
            await end_of_look(account)
            assert len(events) == len(won) - 1, "Those of a look that takes long do not wait for its end."
            await asyncio.sleep(UNTIL_LAST_OF_SEVERAL - 1)
            assert len(events) == len(won) - 1
            store.writes = 0
            await asyncio.sleep(2)
            assert {event.payload["opportunity_uuid"] for event in events} == set(won)
            assert store.writes == 0, "A triggerer that is killed before the last event sends it again."
            await asyncio.sleep(UNTIL_SAVED)
            assert store.writes

    run_in_virtual_time(test())


def test_the_last_of_several_changes_does_not_wait_for_the_end_of_an_outage(
    in_this_process: pytest.MonkeyPatch,
) -> None:
    account = VirtualAccount({str(UUID(int=number)): "pipeline" for number in range(50_000)})
    in_this_process.setattr(watch, "PacedConnection", lambda _: VirtualConnection(account))

    async def test() -> None:
        async with watching(VirtualStore()) as events:
            won = list(account.categories)[-2:]
            account.categories.update(dict.fromkeys(won, "won"))
            requests = account.requests
            while account.requests < requests + 2:
                await asyncio.sleep(0.001)
            account.is_down = True
            await asyncio.sleep(UNTIL_LAST_OF_SEVERAL + 1)
            assert {event.payload["opportunity_uuid"] for event in events} == set(won)

    run_in_virtual_time(test())


def test_a_large_account_costs_one_sweep_a_round_and_writes_only_what_changed(
    in_this_process: pytest.MonkeyPatch,
) -> None:
    account = VirtualAccount({str(UUID(int=number * 7919)): "pipeline" for number in range(50_000)})
    in_this_process.setattr(watch, "PacedConnection", lambda _: VirtualConnection(account))
    store = VirtualStore()

    async def test() -> None:
        async with watching(store) as events:
            assert max(len(json.dumps(value)) for value in store.values.values()) < 65_536
            store.writes = account.requests = 0
            uuids = list(account.categories)
            for start in range(0, 100, 5):
                for uuid in uuids[start : start + 5]:
                    account.categories[uuid] = "won"
                await asyncio.sleep(INTERVAL)
            assert len(events) == 100
            assert account.requests == 20 * 250
            assert store.writes <= 100

    run_in_virtual_time(test())


def test_a_hundred_intervals_of_changes_take_no_more_memory_than_the_first(
    in_this_process: pytest.MonkeyPatch,
) -> None:
    account = VirtualAccount({str(UUID(int=number * 7919)): "pipeline" for number in range(2_000)})
    in_this_process.setattr(watch, "PacedConnection", lambda _: VirtualConnection(account))

    async def test() -> None:
        async with watching(VirtualStore()) as events:
            uuids = list(account.categories)
            in_use = []
            for interval in range(100):
                for uuid in uuids[interval * 5 : interval * 5 + 5]:
                    account.categories[uuid] = "won"
                await asyncio.sleep(INTERVAL)
                assert len(events) == 5
                events.clear()
                in_use.append(tracemalloc.get_traced_memory()[0])
            assert max(in_use[-10:]) - max(in_use[:10]) < 50_000

    tracemalloc.start()
    try:
        run_in_virtual_time(test())
    finally:
        tracemalloc.stop()

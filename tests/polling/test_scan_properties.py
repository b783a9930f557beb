"""For any history of an account, a scan finds each opportunity that is present throughout, and only real states."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis import given, settings

from airflow_provider_chartmogul._polling import engine
from airflow_provider_chartmogul._polling.subscriber import Subscriber
from tests.hooks.stand_ins import error_of
from tests.polling.virtual_account import VirtualAccount, pipeline_of, uuid_of
from tests.support.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet

INTERVAL = 10.0
SETTLED = 130.0
"""Seconds in which every page is read once more, those with closed opportunities too."""

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(1, 300)),
        st.tuples(st.just("back_date"), st.integers(0, 10_000), st.integers(1, 250)),
        st.tuples(st.just("delete"), st.integers(0, 10_000), st.integers(1, 400)),
        st.tuples(st.just("edit"), st.integers(0, 10_000), st.sampled_from(["won", "lost", "pipeline"])),
        st.tuples(st.just("refuse_cursors"), st.integers(1, 3)),
        st.tuples(st.just("fail"), st.sampled_from([429, 500, 504]), st.integers(1, 12)),
        st.tuples(st.just("restart")),
        st.tuples(st.just("wait"), st.floats(0.01, 25)),
    ),
    min_size=3,
    max_size=12,
)


class Watcher(Subscriber):
    """Records the states of each opportunity that the engine reported, with the times."""

    name = "watcher"

    def __init__(self, history: dict[str, list[tuple[float, str | None]]]) -> None:
        self._history = history
        self.now: dict[str, str | None] = {}
        self.invented: list[str] = []
        self._read: dict[str, int] = {}
        self.complete_rounds = 0

    def on_opportunity(self, opportunity: dict[str, Any]) -> bool:
        uuid, category = opportunity["uuid"], opportunity["forecast_category"]
        states = [state for _, state in self._history[uuid]]
        if category not in states[self._read.get(uuid, 0) :]:
            self.invented.append(f"{uuid}: {category} after {states[self._read.get(uuid, 0)]}")
        else:
            self._read[uuid] = states.index(category, self._read.get(uuid, 0))
        self.now[uuid] = category
        return False

    def on_error(self, error: Exception, opportunity_uuid: str | None) -> bool:
        if opportunity_uuid is not None:
            if self._history[opportunity_uuid][-1][1] is not None:
                self.invented.append(f"{opportunity_uuid} deleted")
            self.now.pop(opportunity_uuid, None)
        return False

    async def on_round_end(self, listed: AbstractSet[str] | None) -> Collection[str]:
        self.complete_rounds += listed is not None
        return [] if listed is None else [uuid for uuid in self.now if uuid not in listed]


class World:
    """An account, and the engine that polls it."""

    def __init__(self, count: int, ties: int) -> None:
        self.account = VirtualAccount(pipeline_of(count), page_seconds=0.3, get_seconds=0.1)
        for number, uuid in enumerate(self.account.categories):
            # Some are created within a microsecond, more within a millisecond.
            self.account.created[uuid] = 1_700_000_000_000_000 + number // ties * 300
        for uuid in list(self.account.categories)[: count // 2]:
            self.account.categories[uuid] = "lost"
        self.history = {uuid: [(0.0, category)] for uuid, category in self.account.categories.items()}
        self._number = count

    async def live_through(self, steps: list[tuple[Any, ...]]) -> None:
        self.account.poll()
        self._subscribe()
        await asyncio.sleep(7)
        for name, *arguments in steps:
            await getattr(self, f"_{name}")(*arguments)
        self.account.fault = lambda _endpoint, _query: None
        await asyncio.sleep(SETTLED + 60)
        assert self.watcher.invented == []
        assert self.watcher.complete_rounds
        missed = self.account.categories.items() - self.watcher.now.items()
        assert not missed, f"{len(missed)} were not delivered as they are"
        # Missing ones are polled individually in batches.
        assert len(self.watcher.now) <= len(self.account.categories) + 400
        self._subscription.__exit__()

    def _subscribe(self) -> None:
        self.watcher = Watcher(self.history)
        self._subscription = engine.subscribe(self.watcher, chartmogul_conn_id="c", interval=INTERVAL)
        self._subscription.__enter__()

    async def _insert(self, count: int) -> None:
        for _ in range(count):
            self._create(None)

    async def _back_date(self, index: int, count: int) -> None:
        created = sorted(self.account.created.values())
        moment = created[index % len(created)] if created else None
        for _ in range(count):
            self._create(moment)

    def _create(self, created: int | None) -> None:
        self._number += 1
        uuid = uuid_of(self._number)
        if created is not None:
            self.account.created[uuid] = created
        self._set(uuid, "pipeline")

    async def _delete(self, index: int, count: int) -> None:
        uuids = list(self.account.categories)
        for uuid in uuids[index % len(uuids) :][:count] if uuids else ():
            del self.account.categories[uuid]
            self.history[uuid].append((0.0, None))

    async def _edit(self, index: int, category: str) -> None:
        if uuids := list(self.account.categories):
            self._set(uuids[index % len(uuids)], category)

    def _set(self, uuid: str, category: str) -> None:
        self.account.categories[uuid] = category
        self.history.setdefault(uuid, []).append((0.0, category))

    async def _refuse_cursors(self, seconds: int) -> None:
        def fault(endpoint: str, query: dict[str, Any]) -> None:
            if "cursor" in query and random.random() < 0.5:
                raise error_of(endpoint, 400)

        await self._with_fault(fault, 5 * seconds)

    async def _fail(self, status: int, seconds: int) -> None:
        def fault(endpoint: str, _query: dict[str, Any]) -> None:
            if random.random() < 0.5:
                raise error_of(endpoint, status)

        await self._with_fault(fault, seconds)

    async def _with_fault(self, fault: Any, seconds: float) -> None:
        self.account.fault = fault
        await asyncio.sleep(seconds)
        self.account.fault = lambda _endpoint, _query: None

    async def _restart(self) -> None:
        self._subscription.__exit__()
        await asyncio.sleep(1)
        self._subscribe()

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(count=st.integers(0, 1200), ties=st.sampled_from([1, 2, 7, 300]), steps=STEPS)
def test_present_throughout_means_seen_and_nothing_is_invented(
    count: int, ties: int, steps: list[tuple[Any, ...]]
) -> None:
    run_in_virtual_time(World(count, ties).live_through(steps))

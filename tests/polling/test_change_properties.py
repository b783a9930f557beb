"""For any history of an account and a triggerer, each net transition between two polls is an event."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from airflow_provider_chartmogul._polling.change_detector import ChangeDetector
from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore
from airflow_provider_chartmogul.exceptions import ChartMogulNotFoundError, ChartMogulUnavailableError
from tests.opportunity.stand_ins import watch_condition
from tests.polling.virtual_account import VirtualStore
from tests.support.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

SETTLED = 20.0
"""Seconds after which Airflow has stored an event and the snapshot is saved."""

SURELY_REPEATED, PERHAPS_REPEATED = 4.0, 16.0
"""Seconds until a crash for which an event that was handed over is repeated."""

VALUES: dict[str, list[Any]] = {
    "forecast_category": ["pipeline", "committed", "won", "lost"],
    "pipeline_stage": ["Discovery", "Closed"],
    "amount_in_cents": [0, 1, None],
    "custom": [{}, {"flag": True}, {"flag": 1}, {"flag": None, "other": 1}],
    "pipeline": ["New Business", "Renewals"],
}
JSON = dict[str, Any]

HIDDEN = st.sets(st.integers(0, 5), max_size=3)


def steps_for(watcher: Watcher) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Return the steps of a history whose edits mostly concern the watcher."""
    fields = [name.partition(".")[0] for name in watcher.fields or VALUES]
    edit = st.sampled_from([*fields, *fields, "pipeline", "amount_in_cents"]).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(VALUES[name]))
    )
    index = st.integers(0, 4)
    return st.lists(
        st.one_of(
            st.tuples(st.just("create"), st.booleans(), edit),
            st.tuples(st.just("edit"), index, edit),
            st.tuples(st.just("flip"), index, st.lists(edit, min_size=3, max_size=4)),
            st.tuples(st.just("delete"), index),
            st.tuples(st.just("delete_quickly"), index, edit),
            st.tuples(st.just("poll")),
            st.tuples(st.just("poll_quickly")),
            st.tuples(st.just("poll_short_list"), HIDDEN),
            st.tuples(st.just("poll_some_pages"), HIDDEN),
            st.tuples(st.just("fail")),
            st.tuples(st.just("restart")),
            st.tuples(st.just("hold_events")),
            st.tuples(st.just("crash")),
        ),
        min_size=12,
        max_size=40,
    )


@dataclass
class Watcher:
    """A watcher's condition, for the provider and, independently, for the test."""

    fields: list[str] | None
    events: tuple[str, ...] = ("created", "changed", "deleted")
    targets: list[Any] | None = None
    pipeline: str | None = None
    chosen: tuple[str, ...] = ()

    def condition(self) -> Any:
        return watch_condition(self.events, self.fields, self.targets, {"pipeline": self.pipeline})

    def values(self, opportunity: JSON) -> str:
        """Return the watched values as text, since true is not 1."""
        if self.fields is None and "changed" not in self.events:
            return "[]"
        if self.fields is None:
            return repr(opportunity["updated_at"])
        return repr(
            [
                (opportunity["custom"] if "." in name else opportunity).get(name[-4:] if "." in name else name)
                for name in self.fields
            ]
        )

    def wants(self, event: str, before: JSON | None, after: JSON | None) -> bool:
        opportunity = after or before
        assert opportunity
        return (
            event in self.events
            and (self.targets is None or opportunity[self.fields[0]] in self.targets if self.fields else True)
            and (self.pipeline is None or opportunity["pipeline"] == self.pipeline)
        )


WATCHERS = {
    "any field": Watcher(None),
    "category": Watcher(["forecast_category"]),
    "stage or amount": Watcher(["amount_in_cents", "pipeline_stage"]),
    "custom attribute": Watcher(["custom.flag"]),
    "won": Watcher(["forecast_category"], ("changed", "created"), ["won"]),
    "deleted while won in a pipeline": Watcher(["forecast_category"], ("deleted",), ["won"], "Renewals"),
    "created in a pipeline": Watcher(None, ("created",), None, "Renewals"),
    "all in a pipeline": Watcher(["pipeline_stage"], pipeline="Renewals"),
    "chosen": Watcher(["forecast_category"], chosen=tuple(str(UUID(int=number)) for number in (1, 2, 3, 4, 999))),
}

EventTuple = tuple[str | None, ...]


@dataclass
class Snapshot:
    """The expected snapshot of a watcher."""

    known: dict[str, JSON] = field(default_factory=dict)
    newest: int = -1
    has_baseline: bool = False

    def copy(self) -> Snapshot:
        return Snapshot(dict(self.known), self.newest, self.has_baseline)


class WorldStore(VirtualStore):
    """A store that calls back after each write."""

    on_write: Callable[[], None]

    def set(self, key: str, value: Any) -> None:
        super().set(key, value)
        self.on_write()


class World:
    """An account, a triggerer that watches it, and the events to expect."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.store = WorldStore()
        self.store.on_write = self._on_write
        self.account: dict[str, JSON] = {}
        self.events: list[EventTuple] = []
        self.expected: list[EventTuple] = []
        self.repeated: list[EventTuple] = []
        self._handed_over: list[tuple[float, int, EventTuple]] = []
        self._model = Snapshot()
        self._saved, self._saved_events = Snapshot(), 0
        self._time = 0

    async def live_through(self, steps: list[tuple[Any, ...]]) -> None:
        await self._create(back_dated=False, first=("pipeline", "Renewals"))
        await self._start()
        for name, *arguments in steps:
            await getattr(self, f"_{name}")(*arguments)
        await self._poll()
        await self._restart()
        await asyncio.sleep(SETTLED)
        await self._stop()

    async def _create(self, back_dated: bool, first: tuple[str, Any]) -> None:  # noqa: FBT001  # drawn by hypothesis
        self._time += 1
        uuid = str(UUID(int=self._time))
        self.account[uuid] = {
            "uuid": uuid,
            "customer_uuid": "cus_1",
            **{name: values[0] for name, values in VALUES.items()},
            first[0]: first[1],
            "created_at": f"2026-01-01T00:00:00.{0 if back_dated else self._time:03}Z",
            "updated_at": self._time,
        }

    async def _edit(self, index: int, edit: tuple[str, Any]) -> None:
        if uuid := self._pick(index):
            self._time += 1
            self.account[uuid] = {**self.account[uuid], edit[0]: edit[1], "updated_at": self._time}

    async def _flip(self, index: int, edits: list[tuple[str, Any]]) -> None:
        """Edit an opportunity again before the event of the edit before is stored."""
        for edit in edits:
            await self._edit(index, edit)
            await self._poll_quickly()

    async def _delete_quickly(self, index: int, edit: tuple[str, Any]) -> None:
        """Delete an opportunity before an event of its edit is stored."""
        await self._edit(index, edit)
        await self._poll_quickly()
        await self._delete(index)
        await self._poll_quickly()

    async def _delete(self, index: int) -> None:
        if uuid := self._pick(index):
            del self.account[uuid]

    async def _poll(self) -> None:
        await self._poll_list(set(), is_complete=True)
        await asyncio.sleep(SETTLED)

    async def _poll_quickly(self) -> None:
        await self._poll_list(set(), is_complete=True)

    async def _poll_short_list(self, hidden: set[int]) -> None:
        """Poll a list that silently lacks opportunities."""
        await self._poll_list(hidden, is_complete=True)

    async def _poll_some_pages(self, hidden: set[int]) -> None:
        await self._poll_list(hidden, is_complete=False)

    async def _fail(self) -> None:
        error = ChartMogulUnavailableError("down", method="GET", path="/v1/opportunities", status=503)
        self.detector.on_error(error, None)
        for uuid in self.account:
            self.detector.on_error(error, uuid)
        await self.detector.on_round_end(None)

    async def _restart(self) -> None:
        await asyncio.sleep(SETTLED)
        await self._crash()

    async def _hold_events(self) -> None:
        """Hand over no events until the next start."""
        self._consumer.cancel()

    async def _crash(self) -> None:
        now = asyncio.get_running_loop().time()
        # Later polls find the net difference from the last write.
        self.repeated += self.expected[self._saved_events :]
        del self.expected[self._saved_events :]
        self._model = self._saved.copy()
        for moment, writes, event in self._handed_over:
            if now - moment < SURELY_REPEATED and writes < self.store.writes:
                self.expected.append(event)
            if now - moment < PERHAPS_REPEATED:
                self.repeated.append(event)
        self._saved_events = len(self.expected)
        self._handed_over.clear()
        await self._stop()
        await self._start()

    async def _poll_list(self, hidden: set[int], *, is_complete: bool) -> None:
        polled = self.watcher.chosen or self.account
        entries = enumerate(self.account.items())
        seen = {uuid: each for index, (uuid, each) in entries if index not in hidden and uuid in polled}
        self._expect(seen)
        if is_complete or self.watcher.chosen:
            self._expect_baseline()
        for opportunity in seen.values():
            self.detector.on_opportunity(dict(opportunity))
        missing: Collection[str] = [uuid for uuid in self.watcher.chosen if uuid not in self.account]
        if not self.watcher.chosen:
            missing = await self.detector.on_round_end(seen.keys() if is_complete else None)
        if is_complete or self.watcher.chosen:
            self._expect_missing(seen)
        for uuid in missing:
            if uuid in self.account:
                self.detector.on_opportunity(dict(self.account[uuid]))
            else:
                error = ChartMogulNotFoundError("gone", method="GET", path=f"/v1/opportunities/{uuid}", status=404)
                self.detector.on_error(error, uuid)
        if self.watcher.chosen:
            await self.detector.on_round_end(None)
        await asyncio.sleep(0.1)

    def _expect(self, seen: dict[str, JSON]) -> None:
        model = self._model
        for uuid, after in seen.items():
            before = model.known.get(uuid)
            created_at = int(after["created_at"][-4:-1])
            is_new = before is None and model.has_baseline and created_at > model.newest and not self.watcher.chosen
            if before is None and not model.has_baseline:
                model.newest = max(model.newest, created_at)
            event = "created" if before is None else "changed"
            if is_new or (before and self.watcher.values(before) != self.watcher.values(after)):
                self.expected += self._event(event, before, after)
            model.known[uuid] = after

    def _expect_baseline(self) -> None:
        if not self._model.has_baseline and self._model.newest == -1:
            self._model.newest = 1_000  # an empty list: none of this world's past is new
        self._model.has_baseline = True

    def _expect_missing(self, seen: dict[str, JSON]) -> None:
        known = self._model.known
        if not self.watcher.chosen:
            self._expect({uuid: self.account[uuid] for uuid in known if uuid in self.account and uuid not in seen})
        for uuid in [uuid for uuid in known if uuid not in self.account]:
            self.expected += self._event("deleted", known.pop(uuid), None)

    def _on_write(self) -> None:
        self._saved, self._saved_events = self._model.copy(), len(self.expected)

    def _event(self, event: str, before: JSON | None, after: JSON | None) -> list[EventTuple]:
        opportunity = after or before
        assert opportunity
        if not self.watcher.wants(event, before, after):
            return []
        values = self.watcher.values
        texts = [None if each is None else values(each) for each in (before, after)]
        return [(event, opportunity["uuid"], *texts)]

    def _pick(self, index: int) -> str | None:
        uuids = list(self.account)
        return uuids[index % len(uuids)] if uuids else None

    async def _start(self) -> None:
        condition = self.watcher.condition()
        self.condition = condition
        store = SnapshotStore([self.store], "chartmogul.0", {"columns": list(condition.columns)})
        self.detector = ChangeDetector(
            store,
            condition,
            name="test",
            chartmogul_conn_id="chartmogul_default",
            opportunity_uuids=self.watcher.chosen or None,
        )
        await self.detector.load()
        self._consumer = asyncio.create_task(self._consume(self.detector))
        self._saver = asyncio.create_task(self.detector.keep_saved())

    async def _stop(self) -> None:
        self._consumer.cancel()
        self._saver.cancel()
        await asyncio.gather(self._consumer, self._saver, return_exceptions=True)

    async def _consume(self, detector: ChangeDetector) -> None:
        while True:
            change = await detector.changes.get()
            width = len(self.condition.watched_fields)
            rows = [None if row is None else list(row[:width]) for row in (change.previous, change.current)]
            texts = [
                None if row is None else repr(row[0]) if self.watcher.fields is None and row else repr(row)
                for row in rows
            ]
            event = (change.event, change.opportunity_uuid, *texts)
            self.events.append(event)
            self._handed_over.append((asyncio.get_running_loop().time(), self.store.writes, event))
            detector.acknowledge(change)


@pytest.mark.parametrize("watcher", WATCHERS.values(), ids=WATCHERS)
def test_each_net_transition_that_two_polls_saw_is_an_event_and_nothing_else_is(watcher: Watcher) -> None:
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(steps=steps_for(watcher))
    def check(steps: list[tuple[Any, ...]]) -> None:
        world = World(watcher)
        run_in_virtual_time(world.live_through(steps))
        events, expected = Counter(world.events), Counter(world.expected)
        assert not expected - events, "lost"
        assert not events - expected - Counter(world.repeated), "invented"

    check()

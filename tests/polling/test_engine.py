"""The engine with an account in virtual time: rate limit, delays, attribution of errors, and scans."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_chartmogul._polling import engine, single_polls
from airflow_provider_chartmogul._polling.subscriber import Subscriber
from airflow_provider_chartmogul.exceptions import ChartMogulError, ChartMogulNotFoundError
from tests.airflow.stand_ins import replace_gauge
from tests.hooks.stand_ins import error_of
from tests.polling.virtual_account import VirtualAccount, VirtualHook, pipeline_of, uuid_of
from tests.support.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from collections.abc import Set as AbstractSet

    from airflow_provider_chartmogul._polling.subscription import Subscription

HANG = 30.0


class Recorder(Subscriber):
    """Records all calls by the engine, with the times."""

    def __init__(self, uuids: Collection[str] | None = None, name: str = "recorder") -> None:
        self.opportunity_uuids = uuids
        self.name = name
        self.now: dict[str, Any] = {}
        self.received: dict[str, float] = {}
        self.changed: dict[str, float] = {}
        self.errors: list[tuple[float, ChartMogulError, str | None]] = []
        self.rounds: list[tuple[float, int | None]] = []

    def on_opportunity(self, opportunity: dict[str, Any]) -> bool:
        uuid, moment = opportunity["uuid"], clock()
        self.received[uuid] = moment
        if uuid in self.now and self.now[uuid] != opportunity["forecast_category"]:
            self.changed[uuid] = moment
        self.now[uuid] = opportunity["forecast_category"]
        return False

    def on_error(self, error: Exception, opportunity_uuid: str | None) -> bool:
        assert isinstance(error, ChartMogulError)
        self.errors.append((clock(), error, opportunity_uuid))
        return False

    async def on_round_end(self, listed: AbstractSet[str] | None) -> Collection[str]:
        self.rounds.append((clock(), None if listed is None else len(listed)))
        return [] if listed is None else [uuid for uuid in self.now if uuid not in listed]

    def endings(self) -> list[str | None]:
        """Return the opportunities with a permanent error."""
        return [uuid for _, error, uuid in self.errors if not error.transient and uuid]


def clock() -> float:
    return asyncio.get_running_loop().time()


def account_of(count: int, **settings: Any) -> VirtualAccount:
    account = VirtualAccount(pipeline_of(count))
    account.settings = dataclasses.replace(account.settings, **settings)
    return account


def polled(
    account: VirtualAccount, recorder: Recorder, interval: float = 60, conn_id: str = "chartmogul_default"
) -> Subscription:
    if asyncio.get_running_loop() not in engine._engines:
        account.poll()
    return engine.subscribe(recorder, chartmogul_conn_id=conn_id, interval=interval)


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        run_in_virtual_time(test())

    run.__name__ = test.__name__
    return run


@virtual
async def test_a_wait_is_polled_once_an_interval() -> None:
    account, recorder = account_of(50), Recorder([uuid_of(7)])
    with polled(account, recorder):
        await asyncio.sleep(605)
    assert account.polled == [uuid_of(7)] * 11
    assert account.pages_since(0) == 0


@virtual
async def test_waits_that_a_few_pages_show_cost_those_pages() -> None:
    account = account_of(1000)
    recorders = [Recorder([uuid]) for uuid in account.categories]
    subscriptions = [polled(account, recorder).__enter__() for recorder in recorders]
    await asyncio.sleep(120)
    polls, begin = len(account.polled), clock()
    await asyncio.sleep(600)
    assert len(account.polled) == polls
    assert 50 <= account.pages_since(begin) <= 55
    for subscription in subscriptions:
        subscription.__exit__()


@virtual
async def test_a_few_waits_in_a_large_account_are_polled_individually() -> None:
    account = account_of(10_000)
    recorder = Recorder(list(account.categories)[::1250])
    with polled(account, recorder):
        await asyncio.sleep(60)
        begin, polls = clock(), len(account.polled)
        await asyncio.sleep(600)
        assert account.pages_since(begin) == 0
        assert len(account.polled) - polls == pytest.approx(80, abs=8)


@virtual
async def test_waits_are_on_time_beside_a_scan_that_takes_longer_than_their_interval() -> None:
    account = account_of(5_000, max_requests_per_second=2)
    watcher, wait = Recorder(), Recorder([uuid_of(3)])
    with polled(account, watcher, 5), polled(account, wait, 5):
        await asyncio.sleep(100)
        for _ in range(20):
            account.categories[uuid_of(3)] = "won" if account.categories[uuid_of(3)] == "pipeline" else "pipeline"
            begin = clock()
            await asyncio.sleep(10)
            assert begin < wait.changed[uuid_of(3)] <= begin + 10


@virtual
async def test_pages_are_read_concurrently_once_their_positions_are_known() -> None:
    account = account_of(10_000, max_concurrent_requests=10)
    account.page_seconds = 1.0
    watcher = Recorder()
    with polled(account, watcher, 10):
        await asyncio.sleep(55)
        assert watcher.rounds[-1][1] == 10_000
        begin = clock()
        await asyncio.sleep(50)
        assert account.pages_since(begin) == pytest.approx(250, rel=0.05)
        assert max(begin + 50 - moment for moment in watcher.received.values()) < 13


@virtual
async def test_closed_parts_of_the_list_are_read_every_tenth_round_and_others_every_round() -> None:
    account = account_of(4_000)
    uuids = list(account.categories)
    account.categories.update(dict.fromkeys(uuids[:3_600], "lost"))
    watcher = Recorder()
    with polled(account, watcher, 10):
        await asyncio.sleep(200)
        begin = clock()
        await asyncio.sleep(1000)
        # Two pages each round, 18 every tenth.
        assert account.pages_since(begin) == pytest.approx(100 * 2 + 10 * 18, rel=0.1)
        account.categories.update({uuids[5]: "pipeline", uuids[-5]: "won"})
        await asyncio.sleep(120)
        assert watcher.changed[uuids[-5]] - begin - 1000 < 11
        assert watcher.changed[uuids[5]] - begin - 1000 < 111


@virtual
async def test_every_page_is_read_each_round_if_the_connection_says_so() -> None:
    account = account_of(2_000, closed_poll_rounds=1)
    account.categories.update(dict.fromkeys(account.categories, "lost"))
    with polled(account, Recorder(), 10):
        await asyncio.sleep(100)
        begin = clock()
        await asyncio.sleep(100)
        assert account.pages_since(begin) == pytest.approx(100, abs=11)


@virtual
async def test_what_is_created_and_deleted_is_noticed_and_nothing_else_is_polled() -> None:
    account = account_of(1_000)
    watcher = Recorder()
    with polled(account, watcher, 10):
        await asyncio.sleep(50)
        account.categories[uuid_of(5000)] = "pipeline"
        await asyncio.sleep(20)
        assert watcher.now[uuid_of(5000)] == "pipeline"
        assert account.polled == []
        del account.categories[uuid_of(500)]
        deleted = clock()
        await asyncio.sleep(60)
        assert watcher.endings()[:1] == [uuid_of(500)]
        moment, error, _ = watcher.errors[0]
        assert isinstance(error, ChartMogulNotFoundError)
        assert deleted + 10 <= moment
        assert set(account.polled) == {uuid_of(500)}


@virtual
async def test_opportunities_that_a_short_list_hides_are_polled_and_not_deleted() -> None:
    account = account_of(300)
    watcher = Recorder()
    with polled(account, watcher, 10):
        await asyncio.sleep(30)
        hidden = {uuid_of(number) for number in range(100, 120)}
        shown = [account.entry(uuid) for uuid in reversed(account.categories) if uuid not in hidden]

        def fault(endpoint: str, query: dict[str, Any]) -> Any:
            if "cursor" in query or "/" in endpoint:
                return None
            return {"entries": shown[:150], "cursor": None, "has_more": False}

        account.fault = fault
        await asyncio.sleep(60)
        assert watcher.endings() == []


@virtual
async def test_two_connections_with_one_key_share_scans_waits_and_pace() -> None:
    account = account_of(2_000, max_requests_per_second=20)
    first, second = Recorder(name="first"), Recorder(name="second")
    with polled(account, first, 10, "a"), polled(account, second, 10, "b"):
        await asyncio.sleep(30)
        begin = clock()
        await asyncio.sleep(100)
        assert account.pages_since(begin) == pytest.approx(100, abs=11)
        assert len(first.now) == len(second.now) == 2_000
    sent = sorted(moment for moment, subject in account.log if subject != "end")
    assert min(after - before for before, after in zip(sent, sent[19:], strict=False)) > 0.9


@virtual
async def test_an_error_of_shared_requests_names_the_connection_of_each_subscriber() -> None:
    account = account_of(10)
    account.is_down = True
    subscribers = {conn_id: Recorder() for conn_id in ("a", "b")}
    with polled(account, subscribers["a"], 10, "a"), polled(account, subscribers["b"], 10, "b"):
        await asyncio.sleep(30)
    named = {
        conn_id: {error.conn_id for _, error, _ in subscriber.errors} for conn_id, subscriber in subscribers.items()
    }
    assert named == {"a": {"a"}, "b": {"b"}}


@virtual
async def test_a_later_watcher_sees_all_before_its_first_round_ends() -> None:
    account = account_of(2_000)
    account.categories.update(dict.fromkeys(account.categories, "lost"))
    with polled(account, Recorder(), 60):
        await asyncio.sleep(100)
        new_watcher = Recorder()
        with polled(account, new_watcher, 60):
            await asyncio.sleep(5)
            assert new_watcher.rounds[0][1] == 2_000
            assert len(new_watcher.now) == 2_000
            assert max(new_watcher.received.values()) <= new_watcher.rounds[0][0]


@virtual
async def test_requests_that_hang_delay_no_other() -> None:
    account = account_of(3_000, timeout=HANG)
    uuids = [uuid_of(number) for number in range(0, 3000, 100)]
    hanging = set(uuids[:3])

    account.hanging = hanging
    recorder = Recorder(uuids)
    with polled(account, recorder, 10):
        await asyncio.sleep(300)
        changed = clock()
        account.categories.update(dict.fromkeys(uuids, "won"))
        await asyncio.sleep(40)
    assert max(recorder.changed[uuid] for uuid in uuids[3:]) <= changed + 15
    assert not hanging & recorder.received.keys()
    assert {str(error) for _, error, uuid in recorder.errors if uuid in hanging}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500, 504])
def test_an_error_of_the_list_ends_no_wait_and_the_waits_go_on(status: int) -> None:
    async def test() -> None:
        account = account_of(300)
        uuids = list(account.categories)

        def fault(endpoint: str, _query: dict[str, Any]) -> None:
            if endpoint == "opportunities":
                raise error_of(endpoint, status)

        account.fault = fault
        recorder = Recorder(uuids)
        watcher = Recorder(name="watcher")
        with polled(account, recorder, 60), polled(account, watcher, 60):
            await asyncio.sleep(200)
            assert recorder.endings() == []
            assert watcher.errors
            assert all(uuid is None for _, _, uuid in watcher.errors)
            account.categories[uuids[9]] = "won"
            changed = clock()
            await asyncio.sleep(100)
            assert recorder.changed[uuids[9]] <= changed + 66

    run_in_virtual_time(test())


@virtual
async def test_behind_a_broken_page_waits_are_polled_individually_and_other_pages_are_read() -> None:
    account = account_of(2_000)
    uuids = list(reversed(account.categories))
    watcher, wait = Recorder(), Recorder(uuids[800:1000])
    with polled(account, watcher, 30), polled(account, wait, 30):
        await asyncio.sleep(60)
        broken = uuids[799]

        def fault(endpoint: str, query: dict[str, Any]) -> None:
            cursor = query.get("cursor")
            if cursor and broken in str(__import__("base64").b64decode(cursor)):
                raise error_of(endpoint, 504)

        account.fault = fault
        await asyncio.sleep(60)
        account.categories.update({uuids[850]: "won", uuids[1500]: "won"})
        changed = clock()
        await asyncio.sleep(60)
        assert wait.changed[uuids[850]] <= changed + 45
        assert watcher.changed[uuids[1500]] <= changed + 45
        assert watcher.rounds[-1][1] is None


def test_cursors_that_are_refused_from_some_time_on_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    request = VirtualHook.request

    def expire(hook: VirtualHook, method: str, endpoint: str, *, params: dict[str, Any]) -> Any:
        cursor = params.get("cursor")
        if cursor and not cursor.startswith("new "):
            raise error_of(endpoint, 400)
        response = request(hook, method, endpoint, params={**params, "cursor": cursor and cursor.removeprefix("new ")})
        return {**response, "cursor": f"new {response['cursor']}"}

    async def test() -> None:
        account, watcher = account_of(2_000), Recorder()
        with polled(account, watcher, 10):
            await asyncio.sleep(60)
            monkeypatch.setattr(VirtualHook, "request", expire)
            await asyncio.sleep(60)
            account.categories[uuid_of(3)] = "won"
            changed = clock()
            await asyncio.sleep(30)
            assert watcher.changed[uuid_of(3)] <= changed + 15
            assert watcher.rounds[-1][1] == 2_000

    run_in_virtual_time(test())


@virtual
async def test_a_404_ends_a_wait_only_when_a_second_poll_ten_seconds_later_confirms_it() -> None:
    account = account_of(10)
    recorder = Recorder([uuid_of(1), uuid_of(2), uuid_of(99)])
    once = {uuid_of(1)}

    def fault(endpoint: str, _query: dict[str, Any]) -> None:
        if endpoint.rpartition("/")[2] in once:
            once.clear()
            raise error_of(endpoint, 404)

    account.fault = fault
    with polled(account, recorder):
        await asyncio.sleep(300)
    assert set(recorder.endings()) == {uuid_of(99)}
    moment, error, _ = recorder.errors[0]
    assert 10 <= moment <= 12
    assert f"GET /v1/opportunities/{uuid_of(99)}" in str(error)


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_key_ends_each_wait_with_its_own_request_once_confirmed(status: int) -> None:
    async def test() -> None:
        account = account_of(400)

        def fault(endpoint: str, _query: dict[str, Any]) -> None:
            raise error_of(endpoint, status)

        recorder = Recorder(list(account.categories))
        with polled(account, recorder, 60):
            await asyncio.sleep(120)
            account.fault = fault
            requests = account.requests
            await asyncio.sleep(120)
            assert set(recorder.endings()) == set(account.categories)
            assert all(f"/v1/opportunities/{uuid}" in str(error) for _, error, uuid in recorder.errors if uuid)
            assert account.requests - requests < 40

    run_in_virtual_time(test())


@virtual
async def test_a_rotated_key_is_picked_up_before_a_wait_ends() -> None:
    account = account_of(400)
    recorder = Recorder(list(account.categories))
    with polled(account, recorder, 60):
        await asyncio.sleep(120)
        account.key = "new"
        account.connections["chartmogul_default"] = dataclasses.replace(account.settings, api_key="new")
        account.categories[uuid_of(3)] = "won"
        await asyncio.sleep(100)
        assert recorder.endings() == []
        assert recorder.now[uuid_of(3)] == "won"


@virtual
async def test_a_connection_that_was_never_found_ends_waits_and_one_that_is_lost_does_not() -> None:
    account = account_of(10)
    account.connections["nowhere"] = AirflowNotFoundException("The conn_id `nowhere` isn't defined")
    lost, missing = Recorder([uuid_of(1)]), Recorder([uuid_of(2)])
    with polled(account, lost, 60), polled(account, missing, 60, "nowhere"):
        await asyncio.sleep(30)
        assert set(missing.endings()) == {uuid_of(2)}
    account.connections["chartmogul_default"] = AirflowNotFoundException("isn't defined")
    again = Recorder([uuid_of(1)])
    with polled(account, again, 60):
        await asyncio.sleep(300)
        assert again.errors
        assert again.endings() == []
        del account.connections["chartmogul_default"]
        await asyncio.sleep(100)
        assert again.now


@pytest.mark.parametrize("waits", [1, 200], ids=["polled individually", "on pages beside a watcher"])
def test_an_outage_is_met_with_few_requests_and_its_end_is_noticed_within_a_minute(waits: int) -> None:
    async def test() -> None:
        account = account_of(2_000)
        recorders = [Recorder(list(account.categories)[:waits])]
        if waits > 1:
            recorders.append(Recorder())
        with contextlib.ExitStack() as stack:
            for recorder in recorders:
                stack.enter_context(polled(account, recorder, 10))
            await asyncio.sleep(60)
            account.is_down = True
            requests = account.requests
            await asyncio.sleep(600)
            assert 15 <= account.requests - requests <= 20
            account.is_down = False
            account.categories[uuid_of(0)] = "won"
            ended = clock()
            await asyncio.sleep(100)
            assert all(recorder.changed[uuid_of(0)] <= ended + 75 for recorder in recorders)

    run_in_virtual_time(test())


def test_a_failing_connection_is_logged_once_and_once_more_when_it_works_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        account = account_of(2_000)
        with polled(account, Recorder(name="won deals"), 10):
            await asyncio.sleep(60)
            account.is_down = True
            await asyncio.sleep(300)
            account.is_down = False
            await asyncio.sleep(120)

    caplog.set_level(logging.INFO, "airflow_provider_chartmogul")
    run_in_virtual_time(test())
    lines = [record.getMessage() for record in caplog.records if "_polling" in record.name]
    assert len(lines) == 2, lines
    assert all("Connection chartmogul_default (watchers: won deals)" in line for line in lines)
    assert "503" in lines[0]
    assert "works again after 3" in lines[1]


def test_an_outage_is_not_reported_as_a_round_that_takes_too_long(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        account = account_of(25)
        with polled(account, Recorder(), 5):
            await asyncio.sleep(60)
            account.is_down = True
            await asyncio.sleep(120)
            account.is_down = False
            await asyncio.sleep(300)

    run_in_virtual_time(test())
    assert "all requests fail" in caplog.text
    assert "longer than the poll_interval" not in caplog.text


def test_the_gauges_return_to_zero_when_nobody_is_subscribed_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    gauges: dict[str, float] = {}
    replace_gauge(monkeypatch, lambda name, value, **_: gauges.update({name: value}))

    async def test() -> None:
        with polled(account_of(10), Recorder(), 10):
            await asyncio.sleep(60)
            assert gauges["subscribers"] == 1
        await asyncio.sleep(60)

    run_in_virtual_time(test())
    assert (gauges["waits"], gauges["subscribers"]) == (0, 0)


@virtual
async def test_a_scan_under_a_budget_that_runs_out_ends_and_reads_no_page_twice() -> None:
    account = account_of(16_000, max_requests_per_second=20, closed_poll_rounds=1000)
    account.categories.update(dict.fromkeys(account.categories, "lost"))
    spent: list[float] = []
    cursors: list[Any] = []

    def fault(endpoint: str, query: dict[str, Any]) -> None:
        spent[:] = [moment for moment in spent if moment > clock() - 20]
        if len(spent) >= 60:
            raise error_of(endpoint, 429)
        spent.append(clock())
        cursors.append(query.get("cursor"))

    account.fault = fault
    watcher = Recorder()
    with polled(account, watcher, 600):
        await asyncio.sleep(120)
        assert len(watcher.now) == 16_000
        assert watcher.rounds[-1][1] == 16_000
        assert len(set(cursors)) == len(cursors) == 80


@pytest.mark.parametrize(
    "entry", [None, [], "text", {"uuid": 7}, {}, {"uuid": None}, {"uuid": uuid_of(1), "forecast_category": {"a": []}}]
)
def test_a_malformed_entry_ends_nothing(entry: Any) -> None:
    async def test() -> None:
        account = account_of(300)
        uuids = list(reversed(account.categories))

        def fault(endpoint: str, query: dict[str, Any]) -> Any:
            if endpoint != "opportunities" or "cursor" in query:
                return None
            rest = [account.entry(uuid) for uuid in uuids[1:]]
            return {"entries": [entry, *rest], "cursor": None, "has_more": False}

        account.fault = fault
        watcher, wait = Recorder(), Recorder([uuids[0], uuids[5]])
        with polled(account, watcher, 10), polled(account, wait, 10):
            await asyncio.sleep(60)
            account.categories.update({uuids[0]: "won", uuids[5]: "won"})
            await asyncio.sleep(30)
            assert watcher.now[uuids[5]] == wait.now[uuids[0]] == wait.now[uuids[5]] == "won"

    run_in_virtual_time(test())


@virtual
async def test_a_list_in_another_order_is_read_in_sequence() -> None:
    account = account_of(1_000)
    account.extra = {uuid: {"created_at": f"2026-01-{1 + hash(uuid) % 28:02}"} for uuid in account.categories}
    watcher = Recorder()
    with polled(account, watcher, 10):
        await asyncio.sleep(60)
        assert watcher.rounds[-1][1] == 1_000
        del account.categories[uuid_of(7)]
        account.categories[uuid_of(900)] = "won"
        await asyncio.sleep(60)
        assert uuid_of(7) in watcher.endings()
        assert watcher.changed


@pytest.mark.parametrize("moment", [60.5, 62.5, 64.5, 68])
def test_a_watcher_that_joins_a_list_read_in_sequence_disturbs_nobody(moment: float) -> None:
    class Joining(Recorder):
        async def on_round_end(self, listed: AbstractSet[str] | None) -> Collection[str]:
            missed.extend((listed or set()) - self.now.keys())
            return await super().on_round_end(listed)

    missed: list[str] = []

    async def test() -> None:
        account = account_of(1_000, max_retries=0)
        account.page_seconds = 1.0
        account.extra = {uuid: {"created_at": f"2026-01-{1 + hash(uuid) % 28:02}"} for uuid in account.categories}
        first, joining = Recorder(), Joining()
        with polled(account, first, 10):
            await asyncio.sleep(moment)
            with polled(account, joining, 10):
                await asyncio.sleep(40)
        assert not first.errors
        assert not joining.errors
        assert not missed, "The end of a round completes the baseline of a watcher."
        assert len(joining.now) == first.rounds[-1][1] == 1_000

    run_in_virtual_time(test())


@virtual
async def test_a_defect_of_a_subscriber_ends_nothing_for_others() -> None:
    class Broken(Recorder):
        def on_opportunity(self, opportunity: dict[str, Any]) -> bool:
            raise LookupError("a defect")

        async def on_round_end(self, listed: AbstractSet[str] | None) -> Collection[str]:
            raise LookupError("a defect")

    account, watcher = account_of(300), Recorder()
    with polled(account, Broken(), 10), polled(account, watcher, 10):
        await asyncio.sleep(60)
        assert len(watcher.rounds) >= 4


@virtual
async def test_nothing_is_requested_and_no_task_runs_once_nobody_is_subscribed() -> None:
    account = account_of(300)
    with polled(account, Recorder(), 10), polled(account, Recorder([uuid_of(1)]), 10):
        await asyncio.sleep(60)
    requests = account.requests
    await asyncio.sleep(600)
    assert account.requests == requests
    assert len(asyncio.all_tasks()) == 1
    assert engine._engines[asyncio.get_running_loop()].is_idle


@virtual
async def test_an_opportunity_that_a_subscriber_discards_is_polled_no_more() -> None:
    account, recorder = account_of(10), Recorder([uuid_of(1), uuid_of(2)])
    with polled(account, recorder, 10) as subscription:
        await asyncio.sleep(30)
        subscription.discard(uuid_of(1))
        polls = account.polled.count(uuid_of(1))
        await asyncio.sleep(100)
        assert account.polled.count(uuid_of(1)) == polls
        assert account.polled.count(uuid_of(2)) > 10


@pytest.mark.parametrize(("milliseconds", "has_woken", "runs"), [(2, False, 334), (0, True, 21), (0, False, 1)])
async def test_a_long_series_of_callbacks_lets_other_tasks_run(
    *, milliseconds: int, has_woken: bool, runs: int
) -> None:
    now = 0.0
    runs_of_another_task = 0

    async def another_task() -> None:
        nonlocal runs_of_another_task
        while True:
            runs_of_another_task += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(another_task())
    yielder = single_polls.LoopYielder(clock=lambda: now)
    for _ in range(1_000):
        now += milliseconds / 1000
        await yielder.step(has_woken=has_woken)
    await asyncio.sleep(0)
    task.cancel()
    assert runs_of_another_task == runs

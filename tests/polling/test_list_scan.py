"""The scan of the list in virtual time: positions, rounds, faults, and pages that fit no position."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul._polling import engine
from airflow_provider_chartmogul.exceptions import ChartMogulNotFoundError
from tests.hooks.stand_ins import error_of
from tests.polling.recorder import Recorder, account_of, clock, polled, virtual
from tests.polling.virtual_account import VirtualHook, uuid_of
from tests.support.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet


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
        assert wait.changed[uuids[850]] <= changed + 34
        assert watcher.changed[uuids[1500]] <= changed + 31
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
            assert watcher.changed[uuid_of(3)] <= changed + 11
            assert watcher.rounds[-1][1] == 2_000

    run_in_virtual_time(test())


@virtual
async def test_a_scan_under_a_budget_that_runs_out_ends_and_reads_no_page_twice() -> None:
    # The next read of a closed page is at a random moment of so many rounds: not within this test.
    account = account_of(16_000, max_requests_per_second=20, closed_poll_rounds=10**9)
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
@pytest.mark.parametrize("is_ordered", [True, False], ids=["ordered", "read in sequence"])
def test_a_watcher_that_joins_during_a_round_disturbs_nobody(moment: float, *, is_ordered: bool) -> None:
    class Joining(Recorder):
        async def on_round_end(self, listed: AbstractSet[str] | None) -> Collection[str]:
            missed.extend((listed or set()) - self.now.keys())
            return await super().on_round_end(listed)

    missed: list[str] = []

    async def test() -> None:
        account = account_of(1_000, max_retries=0)
        account.page_seconds = 1.0
        account.categories.update(dict.fromkeys(account.categories, "lost"))
        if not is_ordered:
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


@pytest.mark.parametrize("is_head", [True, False])
def test_a_page_that_does_not_fit_later_is_read_from_the_one_before_it_unless_it_is_the_first(
    *, is_head: bool, caplog: pytest.LogCaptureFixture
) -> None:
    faults = 1

    async def test() -> None:
        account, watcher = account_of(1_000), Recorder()

        def fault(endpoint: str, query: dict[str, Any]) -> Any:
            nonlocal faults
            if endpoint != "opportunities" or is_head == ("cursor" in query) or not faults:
                return None
            faults -= 1
            return {"entries": [account.entry(uuid_of(number)) for number in (1, 2)], "cursor": "x", "has_more": True}

        with polled(account, watcher, 10):
            await asyncio.sleep(30)
            account.fault = fault
            await asyncio.sleep(60)
            assert watcher.rounds[-1][1] == 1_000

    run_in_virtual_time(test())
    assert not faults
    assert ("one page after another" in caplog.text) == is_head


@virtual
async def test_a_round_ends_although_waits_with_a_shorter_interval_have_its_pages_read_again() -> None:
    account, watcher = account_of(200), Recorder()
    with polled(account, watcher, 60), polled(account, Recorder(list(account.categories)), 5):
        await asyncio.sleep(65)
    assert [listed for _, listed in watcher.rounds] == [200, 200]


def test_a_page_that_fails_is_logged_after_the_retries_of_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    is_logged: list[bool] = []

    async def test() -> None:
        account = account_of(400, max_retries=7)

        def fault(_endpoint: str, query: dict[str, Any]) -> None:
            if "cursor" in query:
                is_logged.append("the list cannot be read completely" in caplog.text)
                raise error_of("opportunities", 504)

        account.fault = fault
        with polled(account, Recorder([uuid_of(399)]), 1), polled(account, Recorder(), 60):
            await asyncio.sleep(300)

    run_in_virtual_time(test())
    # Eight requests, and then the line.
    assert is_logged.index(True) == 8


def test_another_kind_of_failure_of_the_list_is_logged_too_and_each_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def test() -> None:
        account = account_of(400)

        def fault(endpoint: str, query: dict[str, Any]) -> None:
            if endpoint == "opportunities" and "cursor" not in query and status:
                raise error_of("opportunities", status)

        account.fault = fault
        with polled(account, Recorder([uuid_of(399)]), 1), polled(account, Recorder(), 60):
            for status in (504, 403, 504, None):  # noqa: B007  # read by the fault
                await asyncio.sleep(300)

    run_in_virtual_time(test())
    lines = [record.getMessage() for record in caplog.records if "the list can" in record.getMessage()]
    assert ["504" in lines[0], "403" in lines[1], "again" in lines[2]] == [True] * 3, lines
    assert len(lines) == 3


def test_a_response_for_the_former_head_is_of_no_use_once_the_list_is_read_in_sequence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        account, watcher = account_of(1_000), Recorder()
        account.page_seconds = 1
        with polled(account, watcher, 60):
            await asyncio.sleep(100)
            (polling_account,) = engine._engines[asyncio.get_running_loop()]._accounts.values()
            scan = polling_account._scan
            while scan.positions.head not in scan._reading:
                await asyncio.sleep(0.1)
            scan._read_in_sequence("an opportunity was missed")
            rounds = len(watcher.rounds)
            await asyncio.sleep(200)
            assert [listed for _, listed in watcher.rounds[rounds:]] == [1_000] * 4

    run_in_virtual_time(test())
    assert "cannot be read completely" not in caplog.text


@virtual
async def test_watchers_that_keep_joining_do_not_put_off_the_end_of_the_list() -> None:
    account, watcher = account_of(16_000, max_requests_per_second=2), Recorder()
    with polled(account, watcher, 60):
        await asyncio.sleep(200)
        watcher.received.clear()
        for _ in range(20):
            with polled(account, Recorder(), 60):
                await asyncio.sleep(30)
    assert len(watcher.received) == 16_000

"""How many requests waits make, and which."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.support.waits import INTERVAL, eventually, looks, make_open, run, trigger_for, uuids_of, waiting

if TYPE_CHECKING:
    from tests.polling.conftest import OpenSandbox

ROUNDS = 5


def _rounds(requests: list[str], size: int) -> list[list[str]]:
    return [requests[start : start + size] for start in range(0, len(requests), size)]


def test_three_waits_in_an_account_of_fifty_thousand_make_three_requests_per_interval(
    open_sandbox: OpenSandbox,
) -> None:
    sandbox = open_sandbox(opportunities=50_000)
    uuids = uuids_of(sandbox, 2) + uuids_of(sandbox, 1, oldest=True)

    async def test() -> None:
        begin = time.monotonic()
        async with waiting(trigger_for(uuid) for uuid in uuids):
            await eventually(lambda: len(sandbox.requests) >= ROUNDS * 3)
        *full_rounds, _ = _rounds(looks(sandbox), 3)
        assert all(sorted(asked_for) == sorted(uuids) for asked_for in full_rounds)
        assert len(full_rounds) <= (time.monotonic() - begin) / INTERVAL + 1

    run(test())


def test_a_thousand_waits_in_an_account_of_a_thousand_make_five_requests_per_interval(
    open_sandbox: OpenSandbox,
) -> None:
    sandbox = open_sandbox(opportunities=1000)
    uuids = make_open(sandbox)

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in uuids):
            await eventually(lambda: "page" in looks(sandbox))
            sandbox.clear_requests()
            begin = time.monotonic()
            await eventually(lambda: looks(sandbox).count("first page") > ROUNDS)
        asked_for = looks(sandbox)
        assert set(asked_for) == {"first page", "page"}
        sizes = [len(pages) for pages in " ".join(asked_for).split("first page")[1:-1]]
        assert sizes == [len(" page page page page ")] * ROUNDS
        assert (time.monotonic() - begin) / INTERVAL + 1 >= ROUNDS

    run(test())


def test_many_waits_for_one_opportunity_make_one_request_per_interval(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)

    async def test() -> None:
        begin = time.monotonic()
        async with waiting(trigger_for(uuid) for _ in range(100)):
            await eventually(lambda: len(sandbox.requests) >= ROUNDS)
        assert set(looks(sandbox)) == {uuid}
        assert len(sandbox.requests) <= (time.monotonic() - begin) / INTERVAL + 1

    run(test())


def test_a_sweep_stops_as_soon_as_everyone_was_seen(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(opportunities=2000)
    uuids = make_open(sandbox)[:300]

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in uuids):
            # On a busy machine a first round may begin before all have joined.
            await eventually(lambda: "page" in looks(sandbox))
            sandbox.clear_requests()
            await eventually(lambda: looks(sandbox).count("first page") > ROUNDS)
        _, *full_rounds, _ = ",".join(looks(sandbox)).split("first page")
        assert set(full_rounds) == {",page,"}

    run(test())


def test_what_few_pages_leave_is_looked_at_singly_once_the_length_of_the_list_is_known(
    open_sandbox: OpenSandbox,
) -> None:
    sandbox = open_sandbox(opportunities=4000)
    uuids = make_open(sandbox)
    wanted, oldest = [*uuids[:99], uuids[-1]], uuids[-1]

    async def test() -> None:
        async with waiting(trigger_for(uuid, poll_interval=0.5) for uuid in wanted):
            await eventually(lambda: looks(sandbox).count(oldest) > ROUNDS)
        *_, last_but_one, _ = ",".join(looks(sandbox)).split("first page")
        assert last_but_one == f",{oldest},"

    run(test())


def test_a_sweep_that_costs_more_than_single_looks_is_given_up_and_not_tried_again(
    open_sandbox: OpenSandbox,
) -> None:
    sandbox = open_sandbox(opportunities=10_000)
    uuids = make_open(sandbox)[-8:]

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in uuids):
            await eventually(lambda: len(sandbox.requests) >= 8 + ROUNDS * 8)
        asked_for = looks(sandbox)
        assert asked_for[:8] == ["first page", *["page"] * 7]
        *full_rounds, _ = _rounds(asked_for[8:], 8)
        assert all(sorted(asked_for) == sorted(uuids) for asked_for in full_rounds)

    run(test())


def test_waits_are_swept_for_when_they_became_many_and_looked_at_singly_when_they_became_few(
    open_sandbox: OpenSandbox,
) -> None:
    sandbox = open_sandbox(opportunities=1000)
    uuids = make_open(sandbox)

    async def test() -> None:
        async with waiting([trigger_for(uuids[0])]):
            await eventually(lambda: looks(sandbox) == [uuids[0]])
            async with waiting(trigger_for(uuid) for uuid in uuids):
                await eventually(lambda: looks(sandbox).count("first page") == 2)
            await eventually(lambda: looks(sandbox)[-2:] == [uuids[0]] * 2)

    run(test())


def test_the_pages_of_the_list_are_counted_anew_from_time_to_time(
    open_sandbox: OpenSandbox,
) -> None:
    sandbox = open_sandbox(opportunities=2400)
    uuids = make_open(sandbox)[-8:]

    async def test() -> None:
        async with waiting(trigger_for(uuid, poll_interval=0.1) for uuid in uuids):
            await eventually(lambda: uuids[0] in looks(sandbox))
            for opportunity in sandbox.opportunities[:2000]:
                sandbox.remove_opportunity(opportunity["uuid"])
            sandbox.clear_requests()
            await eventually(lambda: looks(sandbox)[-4:] == ["first page", "page"] * 2)
        assert looks(sandbox).count(uuids[0]) <= 100

    run(test())


def test_waits_on_two_intervals_poll_each_at_its_own(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    often, seldom = uuids_of(sandbox, 2)

    async def test() -> None:
        async with waiting([trigger_for(often, poll_interval=0.1), trigger_for(seldom, poll_interval=1.0)]):
            await eventually(lambda: looks(sandbox).count(often) >= 20)
        assert 1 <= looks(sandbox).count(seldom) <= looks(sandbox).count(often) / 4

    run(test())


def test_nobody_asks_for_anything_once_nobody_waits(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)

    async def test() -> None:
        async with waiting([trigger_for(uuid)]):
            await eventually(lambda: sandbox.requests)
        await asyncio.sleep(INTERVAL / 2)
        made = len(sandbox.requests)
        await asyncio.sleep(INTERVAL * 4)
        assert len(sandbox.requests) == made

    run(test())

"""A change is seen, whenever it is made."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul._polling.engine import Waiter
from airflow_provider_chartmogul.sandbox import Fault
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryTrigger
from tests.support.waits import (
    INTERVAL,
    eventually,
    looks,
    make_open,
    payload_of,
    run,
    trigger_for,
    uuids_of,
    waiting,
)

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.polling.conftest import OpenSandbox


async def until_looked_at_again(sandbox: Sandbox) -> None:
    made = len(sandbox.requests)
    await eventually(lambda: len(sandbox.requests) >= made + 2)


def test_a_change_made_before_the_first_look_is_seen(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)
    baseline = sandbox.opportunity(uuid)["forecast_category"]
    sandbox.set_opportunity(uuid, forecast_category="lost")

    async def test() -> None:
        payload = await payload_of(trigger_for(uuid, target_categories=None, baseline_category=baseline))
        assert payload == {"opportunity": sandbox.opportunity(uuid), "baseline_category": baseline}
        assert len(sandbox.requests) == 1

    run(test())


@pytest.mark.parametrize("waits", [1, 300], ids=["looked at singly", "swept for"])
def test_a_change_made_between_two_looks_is_seen(open_sandbox: OpenSandbox, waits: int) -> None:
    sandbox = open_sandbox(opportunities=1000)
    uuids = make_open(sandbox)[:waits]

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in uuids) as tasks:
            await eventually(lambda: len(sandbox.requests) >= 4)
            sandbox.set_opportunity(uuids[-1], forecast_category="won")
            await eventually(tasks[-1].done)
            assert tasks[-1].result().payload["opportunity"] == sandbox.opportunity(uuids[-1])
            assert not any(task.done() for task in tasks[:-1])

    run(test())


def test_a_change_away_from_the_baseline_is_seen_and_no_other(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)
    sandbox.set_opportunity(uuid, forecast_category="pipeline")

    async def test() -> None:
        trigger = trigger_for(uuid, target_categories=None, baseline_category="pipeline")
        async with waiting([trigger]) as (task,):
            sandbox.set_opportunity(uuid, amount_in_cents=1, pipeline_stage="Evaluation")
            made = len(sandbox.requests)
            await eventually(lambda: len(sandbox.requests) >= made + 3)
            assert not task.done()
            sandbox.set_opportunity(uuid, forecast_category="best_case")
            await eventually(task.done)

    run(test())


def test_changes_made_while_a_sweep_finds_the_pages_shifting_are_all_seen(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(opportunities=1000, latency=0.02)
    uuids = make_open(sandbox)
    spare, awaited = uuids[::2], uuids[1::2]

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in awaited) as tasks:
            await eventually(lambda: "page" in looks(sandbox))
            for number, uuid in enumerate(awaited):
                sandbox.set_opportunity(uuid, forecast_category="won")
                sandbox.remove_opportunity(spare[number])
                # Moves to the first page what the sweep may not have come to yet.
                sandbox.add_opportunity()
                newest = sandbox.opportunities[0]["created_at"]
                sandbox.set_opportunity(awaited[-1 - number], created_at=newest)
                await asyncio.sleep(0.001)
            await eventually(lambda: all(task.done() for task in tasks))
        won = [task.result().payload["opportunity"] for task in tasks]
        assert [opportunity["uuid"] for opportunity in won] == awaited
        assert {opportunity["forecast_category"] for opportunity in won} == {"won"}

    run(test())


def test_a_change_made_while_the_triggerer_is_down_is_seen(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)
    baseline = sandbox.opportunity(uuid)["forecast_category"]
    trigger = trigger_for(uuid, target_categories=None, baseline_category=baseline)
    _, kwargs = json.loads(json.dumps(trigger.serialize()))

    async def until_the_triggerer_dies() -> None:
        async with waiting([trigger]) as (task,):
            await eventually(lambda: sandbox.requests)
            assert not task.done()

    async def after_its_restart() -> None:
        payload = await payload_of(OpportunityForecastCategoryTrigger(**kwargs))
        assert payload["opportunity"]["forecast_category"] == "lost"

    run(until_the_triggerer_dies())
    sandbox.set_opportunity(uuid, forecast_category="lost")
    run(after_its_restart())


def test_one_that_a_sweep_missed_is_looked_at_singly_and_waited_for_further(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(opportunities=20)
    *listed, missed = make_open(sandbox)
    entries = [entry for entry in sandbox.opportunities if entry["uuid"] != missed]
    page = json.dumps({"entries": entries, "cursor": None, "has_more": False})
    sandbox.inject_fault(Fault(kind="body", body=page, path="opportunities$", times=None))

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in [*listed, missed]) as tasks:
            await eventually(lambda: looks(sandbox).count(missed) >= 2)
            assert not any(task.done() for task in tasks)
            sandbox.set_opportunity(missed, forecast_category="won")
            await eventually(tasks[-1].done)
            assert tasks[-1].result().payload["opportunity"]["forecast_category"] == "won"
        assert set(looks(sandbox)) == {"first page", missed}

    run(test())


def test_one_that_was_deleted_ends_only_its_own_wait_and_says_why(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(opportunities=300)
    uuids = make_open(sandbox)

    async def test() -> None:
        async with waiting(trigger_for(uuid) for uuid in uuids) as tasks:
            await eventually(lambda: looks(sandbox).count("first page") >= 2)
            sandbox.remove_opportunity(uuids[7])
            await eventually(tasks[7].done)
            error = tasks[7].result().payload["error"]
            assert f'Opportunity "{uuids[7]}" does not exist' in error
            assert "may have been deleted" in error
            swept = looks(sandbox).count("first page")
            await eventually(lambda: looks(sandbox).count("first page") >= swept + 2)
            assert [task for task in tasks if task.done()] == [tasks[7]]

    run(test())


def test_a_waiter_that_was_busy_gets_the_latest_news(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)

    async def test() -> None:
        with Waiter(uuid, chartmogul_conn_id="chartmogul_default", interval=INTERVAL) as waiter:
            await waiter.news()
            for category in ("committed", "lost", "won"):
                sandbox.set_opportunity(uuid, forecast_category=category)
                await until_looked_at_again(sandbox)
            assert _category(await waiter.news()) == "won"

    run(test())


def test_news_that_come_between_older_news_and_their_reader_are_not_lost(open_sandbox: OpenSandbox) -> None:
    uuid = uuids_of(open_sandbox(), 1)[0]

    async def test() -> None:
        with Waiter(uuid, chartmogul_conn_id="chartmogul_default", interval=60) as waiter:
            reader = asyncio.create_task(waiter.news())
            await asyncio.sleep(0)
            waiter.see({"forecast_category": "committed"})
            waiter.see({"forecast_category": "won"})
            assert _category(await reader) == "won"

    run(test())


def _category(news: dict[str, Any] | Exception) -> Any:
    assert isinstance(news, dict)
    return news["forecast_category"]


def test_an_opportunity_without_a_category_or_with_a_new_one_is_waited_for_like_any_other(
    open_sandbox: OpenSandbox,
) -> None:
    sandbox = open_sandbox()
    (uuid,) = uuids_of(sandbox, 1)

    async def test() -> None:
        for before, after in itertools.pairwise([None, "on_hold", None, "won"]):
            sandbox.set_opportunity(uuid, forecast_category=before)
            trigger = trigger_for(uuid, target_categories=None, baseline_category=before)
            async with waiting([trigger]) as (task,):
                await until_looked_at_again(sandbox)
                assert not task.done()
                sandbox.set_opportunity(uuid, forecast_category=after)
                await eventually(task.done)
                assert task.result().payload["opportunity"]["forecast_category"] == after

    run(test())

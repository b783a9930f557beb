"""The wait triggers, run by Airflow's own TriggerRunner."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID as UUID
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor
from airflow_provider_chartmogul.triggers.opportunity import (
    OpportunityFieldTrigger,
    OpportunityForecastCategoryTrigger,
)
from tests.support.airflow_versions import AIRFLOW_VERSION
from tests.support.triggerers import triggerer
from tests.support.waits import event_of, eventually, make_open, run, trigger_for, uuids_of

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox

UNKNOWN = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def won(sandbox: Sandbox) -> str:
    """Return the UUID of an opportunity that is won."""
    (uuid,) = uuids_of(sandbox, 1)
    sandbox.set_opportunity(uuid, forecast_category="won", owner="grace@example.com")
    return uuid


def test_events_come_out_and_no_line_of_the_log_holds_the_owner_or_the_key(
    sandbox: Sandbox,
    won: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    report = triggerer(monkeypatch).run(
        trigger_for(won, baseline_category="pipeline"),
        trigger_for(won, end_from_trigger=True),
        trigger_for(UNKNOWN),
        trigger_for("not a uuid"),
        connections={"chartmogul_default": sandbox.connection},
    )
    assert report.failures == {}
    resumed, ended, not_found, malformed = (report.events[number] for number in (1, 2, 3, 4))
    assert [event.payload for event in resumed] == [
        {"opportunity": sandbox.opportunity(won), "baseline_category": "pipeline"}
    ]
    assert [type(event) for event in ended] == [TaskSuccessEvent]
    assert report.results == {2: sandbox.opportunity(won)}
    assert ["does not exist" in event.payload["error"] for event in not_found] == [True]
    assert ["opportunity_uuid: expected" in event.payload["error"] for event in malformed] == [True]
    logged = "".join(capfd.readouterr()) + caplog.text
    assert "fired" in logged
    assert "example.com" not in logged
    assert sandbox.api_key not in logged


def test_a_hundred_waits_of_one_triggerer_share_their_requests(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(97):
        sandbox.add_opportunity()
    uuids = make_open(sandbox)
    for uuid in uuids:
        sandbox.set_opportunity(uuid, forecast_category="won")
    report = triggerer(monkeypatch).run(
        *(trigger_for(uuid, poll_interval=10) for uuid in uuids),
        connections={"chartmogul_default": sandbox.connection},
    )
    assert report.failures == {}
    assert [
        event.payload["opportunity"]["uuid"] for number in range(1, 101) for event in report.events[number]
    ] == uuids
    assert len(sandbox.requests) <= 3


def test_a_connection_that_nobody_ever_found_ends_the_wait_with_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, won: str
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CHARTMOGUL_NOWHERE", raising=False)
    # Without starts_wait, a worker found the connection, and the lookup alone fails.
    wait = trigger_for(won, chartmogul_conn_id="chartmogul_nowhere", starts_wait=True)
    report = triggerer(monkeypatch).run(wait, connections={})
    assert report.failures == {}
    ((event,),) = report.events.values()
    assert "chartmogul_nowhere" in event.payload["error"]


def test_a_sensor_with_templates_starts_and_ends_in_the_triggerer_from_airflow_3_3_on(
    sandbox: Sandbox, won: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "opportunity_uuid": "{{ params.uuid }}",
        "target_categories": ["committed", "{{ params.target }}"],
        "failure_categories": ["lost"],
        "chartmogul_conn_id": "{{ params.conn_id }}",
    }
    params = {"uuid": UNKNOWN, "target": "committed", "conn_id": "chartmogul_default"}
    with DAG("dag", start_date=datetime(2024, 1, 1, tzinfo=UTC), schedule=None, params=params) as dag:
        sensor = partial(
            OpportunityForecastCategorySensor,
            task_id="wait",
            deferrable=True,
            start_from_trigger=True,
            end_from_trigger=True,
            **options,
        )
        if AIRFLOW_VERSION < (3, 3):
            with pytest.warns(UserWarning, match="start_from_trigger needs Airflow 3.3"):
                assert sensor().start_from_trigger is False
            return
        sensor()
    started: Any = triggerer(monkeypatch)
    conf = {"uuid": won, "target": "won"}
    report = started.start("wait", dag, conf, {"chartmogul_default": sandbox.connection})
    assert report.failures == {}
    assert [type(event) for event in report.events[1]] == [TaskSuccessEvent]
    assert report.results == {1: sandbox.opportunity(won)}


class Retrieval:
    """Stands in for the retrieval of many opportunities: records the connections, and lasts until it is told to end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.conn_ids: list[str] = []
        self.may_end = threading.Event()

        def retrieve(hook: ChartMogulHook, uuids: list[str]) -> list[dict[str, Any]]:
            self.conn_ids.append(hook.chartmogul_conn_id)
            assert self.may_end.wait(10)
            return [{"uuid": uuid} for uuid in uuids]

        monkeypatch.setattr(ChartMogulHook, "retrieve_opportunities", retrieve)


def ending(conn_id: str) -> asyncio.Task[TriggerEvent]:
    """Start a wait for several that has met its target, and is to end in the triggerer."""
    trigger = OpportunityFieldTrigger(
        field="owner",
        opportunity_uuids=[UNKNOWN],
        met_values={UNKNOWN: "grace"},
        chartmogul_conn_id=conn_id,
        end_from_trigger=True,
    )
    return asyncio.create_task(event_of(trigger))


def test_the_retrieval_of_many_at_the_end_of_a_wait_stops_no_other_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    retrieval = Retrieval(monkeypatch)

    async def test() -> None:
        endings = [ending("a"), ending("b")]
        await eventually(lambda: len(retrieval.conn_ids) == 2)  # one connection's does not wait for another's
        await sync_to_async(retrieval.may_end.set)()  # in the thread of other triggers' calls
        assert {type(event) for event in await asyncio.gather(*endings)} == {TaskSuccessEvent}

    run(test())


def test_of_waits_that_end_together_one_retrieves_at_a_time_and_no_cancelled_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retrieval = Retrieval(monkeypatch)

    async def test() -> None:
        first, *cancelled, last = [ending("a") for _ in range(4)]
        await eventually(lambda: retrieval.conn_ids)
        for task in cancelled:
            task.cancel()
        await asyncio.wait(cancelled)
        assert retrieval.conn_ids == ["a"]
        retrieval.may_end.set()
        await asyncio.gather(first, last)
        assert retrieval.conn_ids == ["a", "a"]

    run(test())


@pytest.mark.parametrize("wait", [{"opportunity_uuid": UUID}, {"opportunity_uuids": [UUID]}], ids=["one", "several"])
def test_no_result_is_stored_nor_retrieved_when_the_task_pushes_none(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, wait: dict[str, Any]
) -> None:
    sandbox.set_opportunity(UUID, forecast_category="won")
    trigger = OpportunityForecastCategoryTrigger(
        target_categories="won", end_from_trigger=True, stores_result=False, **wait
    )
    report = triggerer(monkeypatch).run(trigger, connections={"chartmogul_default": sandbox.connection})
    assert report.failures == {}
    assert [type(event) for event in report.events[1]] == [TaskSuccessEvent]
    assert report.results == {}
    assert len(sandbox.requests) == 1

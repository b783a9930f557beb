"""The end of a deferred sensor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID as UUID
from airflow_provider_chartmogul.sensors.opportunity import OpportunityFieldSensor
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryTrigger
from tests.support.airflow_versions import AIRFLOW_VERSION, IS_AIRFLOW_3
from tests.support.dag_runs import run_of
from tests.support.deferrable_sensors import dag_with, sensor
from tests.support.waits import payload_of, run

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor

# The result


def test_the_result_is_the_same_json_in_every_mode(sandbox: Sandbox) -> None:
    won = sandbox.set_opportunity(UUID, forecast_category="won", custom={"a": [1.5, None]}, added_in_2027={"x": True})
    results = [
        run_of(lambda options=options: dag_with(options)).start("wait").result  # type: ignore[misc]
        for options in ({"deferrable": False}, {"deferrable": False, "mode": "reschedule"}, {"deferrable": True})
    ]

    async def test() -> None:
        payload = await payload_of(OpportunityForecastCategoryTrigger(opportunity_uuid=UUID, target_categories="won"))
        results.append(sensor().execute_complete({}, json.loads(json.dumps(payload))))
        trigger = OpportunityForecastCategoryTrigger(
            opportunity_uuid=UUID, target_categories="won", end_from_trigger=True
        )
        results.extend([event.xcoms["return_value"] async for event in trigger.run()])  # type: ignore[attr-defined]

    run(test())
    assert results == [won] * 5
    assert {json.dumps(result) for result in results} == {json.dumps(won)}


def test_what_templates_render_again_after_the_wait_is_read_as_before_it() -> None:
    resumed = sensor()
    resumed.target_categories = numpy.array("won")  # as templates that render to native objects may
    assert resumed.execute_complete({}, {"opportunity": WON, "baseline_category": None}) == WON


def test_a_predicate_that_depends_on_the_time_is_not_called_again_after_the_wait() -> None:
    resumed = OpportunityFieldSensor(
        task_id="wait",
        field="amount_in_cents",
        opportunity_uuid=UUID,
        condition="tests.support.predicates.is_large",
        deferrable=True,
    )
    no_longer_large = {"uuid": UUID, "amount_in_cents": 1}
    assert resumed.execute_complete({}, {"opportunity": no_longer_large}) == no_longer_large


OTHER_UUID = "00000000-0000-0000-0000-000000000000"
WON = {"uuid": UUID, "forecast_category": "won"}
UNEXPECTED = {
    "nothing": None,
    "a string": "won",
    "a list": [WON],
    "true": True,
    "an empty object": {},
    "another's event": {"status": "success"},
    "an error that is no text": {"error": {"opportunity": WON}},
    "an error that is null": {"error": None},
    "a status beside the opportunity": {"status": "success", "opportunity": WON},
    "only a baseline": {"baseline_category": "pipeline"},
    "an opportunity that is null": {"opportunity": None, "baseline_category": None},
    "an opportunity that is a string": {"opportunity": UUID, "baseline_category": None},
    "an opportunity without uuid": {"opportunity": {"forecast_category": "won"}, "baseline_category": None},
    "another opportunity": {"opportunity": {**WON, "uuid": OTHER_UUID}, "baseline_category": None},
    "a category that was not waited for": {
        "opportunity": {**WON, "forecast_category": "committed"},
        "baseline_category": "pipeline",
    },
    "no category": {"opportunity": {"uuid": UUID}, "baseline_category": "pipeline"},
    "a category that is no text": {"opportunity": {**WON, "forecast_category": ["won"]}, "baseline_category": None},
    "values, as of several": {"values": {UUID: "won"}},
    "an error besides": {"error": None, "opportunity": WON, "baseline_category": None},
    "something else besides": {"status": "error", "opportunity": WON, "baseline_category": None},
}


@pytest.mark.parametrize("event", UNEXPECTED.values(), ids=UNEXPECTED)
def test_an_event_that_is_not_the_end_of_this_wait_is_no_success(event: Any) -> None:
    with pytest.raises(RuntimeError, match=f"does not end the wait for opportunity {UUID}"):
        sensor(failure_categories="lost").execute_complete({}, event)


@pytest.mark.parametrize(
    "event",
    [
        {"opportunity": {**WON, "forecast_category": "pipeline"}, "baseline_category": "pipeline"},
        {"opportunity": {"uuid": UUID, "forecast_category": None}, "baseline_category": None},
        {"opportunity": WON},
    ],
    ids=["unchanged", "none as before", "no baseline"],
)
def test_an_event_without_a_change_is_no_success_when_any_change_is_waited_for(event: Any) -> None:
    with pytest.raises(RuntimeError, match="does not end the wait"):
        sensor(target_categories=None).execute_complete({}, event)


def test_an_event_with_another_baseline_than_the_sensors_is_no_success() -> None:
    event = {"opportunity": {**WON, "forecast_category": "pipeline"}, "baseline_category": "won"}
    with pytest.raises(RuntimeError, match="does not end the wait"):
        sensor(target_categories=None, baseline_category="pipeline").execute_complete({}, event)


def test_no_event_at_all_is_no_success() -> None:
    with pytest.raises(RuntimeError, match="does not end the wait"):
        sensor().execute_complete({})


def test_a_failure_category_in_the_triggerer_fails_without_retry() -> None:
    event = {"opportunity": {**WON, "forecast_category": "lost"}, "baseline_category": None}
    with pytest.raises(AirflowFailException, match=f"Opportunity {UUID}: forecast category is now lost"):
        sensor(failure_categories="lost").execute_complete({}, event)


def test_an_error_in_the_triggerer_fails_without_retry() -> None:
    with pytest.raises(AirflowFailException, match="the key was rejected"):
        sensor().execute_complete({}, {"error": "the key was rejected"})


# The common sensor flags on a resumed task, where Airflow itself differs between versions


def resume(waiting: OpportunityForecastCategorySensor, event: Any) -> Any:
    return waiting.resume_execution("execute_complete", {"event": event}, {})


def time_out(waiting: OpportunityForecastCategorySensor) -> Any:
    error = "Trigger timeout" if IS_AIRFLOW_3 else "Trigger/execution timeout"
    return waiting.resume_execution("__fail__", {"error": error}, {})


def fail_in_triggerer(waiting: OpportunityForecastCategorySensor) -> Any:
    return waiting.resume_execution("__fail__", {"error": "Trigger failure", "traceback": ["..."]}, {})


ENDS = [{"error": "x"}, {"opportunity": {**WON, "forecast_category": "lost"}, "baseline_category": None}]


@pytest.mark.parametrize("event", ENDS, ids=["error", "failure category"])
def test_soft_fail_skips_what_fails_without_retry(event: Any) -> None:
    with pytest.raises(AirflowSkipException):
        resume(sensor(failure_categories="lost", soft_fail=True), event)


@pytest.mark.parametrize("event", ENDS, ids=["error", "failure category"])
def test_never_fail_skips_what_fails_without_retry_from_airflow_3_1_on(event: Any) -> None:
    expected = AirflowSkipException if AIRFLOW_VERSION >= (3, 1) else AirflowFailException
    with pytest.raises(expected):
        resume(sensor(failure_categories="lost", never_fail=True), event)


@pytest.mark.parametrize("flag", [None, "soft_fail", "never_fail", "silent_fail"])
def test_an_unexpected_event_is_never_skipped(flag: str | None) -> None:
    flags = {flag: True} if flag else {}
    with pytest.raises(RuntimeError):
        resume(sensor(**flags), {"status": "success"})


def test_a_timeout_in_the_triggerer_is_not_retried_from_airflow_3_on() -> None:
    with pytest.raises(AirflowException if not IS_AIRFLOW_3 else AirflowSensorTimeout) as raised:
        time_out(sensor())
    # Airflow 2 does not distinguish a timeout from a failed trigger, and retries both.
    assert isinstance(raised.value, AirflowSensorTimeout) == IS_AIRFLOW_3


@pytest.mark.skipif(not IS_AIRFLOW_3, reason="Airflow 2 does not distinguish a timeout from a failed trigger")
def test_a_timeout_in_the_triggerer_names_the_wait() -> None:
    named = (
        rf"opportunity {UUID} timed out after 2592000 s \(forecast category: won; connection: chartmogul_default\)\."
    )
    with pytest.raises(AirflowSensorTimeout, match=named):
        time_out(sensor(timeout=30 * 24 * 60 * 60))


def test_soft_fail_skips_after_a_timeout_in_the_triggerer_but_on_airflow_3_0() -> None:
    expected = AirflowSensorTimeout if AIRFLOW_VERSION == (3, 0) else AirflowSkipException
    with pytest.raises(expected):
        time_out(sensor(soft_fail=True))


def test_never_fail_skips_after_a_timeout_in_the_triggerer_from_airflow_3_1_on() -> None:
    expected = AirflowSkipException if AIRFLOW_VERSION >= (3, 1) else AirflowException
    with pytest.raises(expected) as raised:
        time_out(sensor(never_fail=True))
    assert isinstance(raised.value, AirflowSkipException) == (AIRFLOW_VERSION >= (3, 1))


def test_a_defect_in_the_triggerer_fails_and_may_be_retried() -> None:
    with pytest.raises(AirflowException) as raised:
        fail_in_triggerer(sensor())
    assert not isinstance(raised.value, AirflowFailException | AirflowSensorTimeout)


def test_soft_fail_does_not_skip_after_a_defect_in_the_triggerer() -> None:
    with pytest.raises(AirflowException, match="Trigger failure") as raised:
        fail_in_triggerer(sensor(soft_fail=True))
    assert not isinstance(raised.value, AirflowSkipException)

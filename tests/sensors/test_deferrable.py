"""The deferrable sensor; test_poke.py tests it on a worker."""

from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID as UUID
from airflow_provider_chartmogul.sandbox import Fault
from airflow_provider_chartmogul.sensors.opportunity import OpportunityFieldSensor, OpportunityForecastCategorySensor
from airflow_provider_chartmogul.triggers.opportunity import OpportunityForecastCategoryTrigger
from tests.conftest import MAX_RETRIES
from tests.support.dag_runs import run_of
from tests.support.deferrable_sensors import dag_with, deferral_of, kwargs_of, sensor
from tests.support.waits import payload_of, run

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox

LASTING_FAULT = Fault(kind="status", status=503, times=None)


@pytest.fixture
def opportunity(sandbox: Sandbox) -> dict[str, Any]:
    """Return the JSON of an opportunity in the category ``pipeline``."""
    return sandbox.set_opportunity(UUID, forecast_category="pipeline")


# The first poll


@pytest.mark.usefixtures("opportunity")
def test_it_polls_once_on_the_worker_and_then_defers(sandbox: Sandbox) -> None:
    waiting = sensor(
        opportunity_uuid=UUID.upper(),
        target_categories={ForecastCategory.WON, "committed"},
        failure_categories="lost",
        poke_interval=30,
    )
    deferral = deferral_of(waiting)
    assert deferral.method_name == "execute_complete"
    assert kwargs_of(deferral) == {
        "opportunity_uuid": UUID.upper(),
        "opportunity_uuids": None,
        "wait_for": "all",
        "target_categories": ["committed", "won"],
        "failure_categories": "lost",
        "baseline_category": None,
        "baseline_values": None,
        "met_values": None,
        "poll_interval": 30,
        "chartmogul_conn_id": "chartmogul_default",
        "silent_fail": False,
        "starts_wait": False,
        "end_from_trigger": False,
        "stores_result": True,
    }
    assert len(sandbox.requests) == 1


@pytest.mark.usefixtures("opportunity")
def test_a_task_that_pushes_no_xcom_stores_none_from_the_triggerer() -> None:
    assert kwargs_of(deferral_of(sensor(end_from_trigger=True, do_xcom_push=False)))["stores_result"] is False


def test_a_target_that_is_reached_already_needs_no_triggerer(sandbox: Sandbox) -> None:
    won = sandbox.set_opportunity(UUID, forecast_category="won")
    assert sensor().execute({}) == won


def test_a_failure_category_that_is_reached_already_needs_no_triggerer(sandbox: Sandbox) -> None:
    sandbox.set_opportunity(UUID, forecast_category="lost")
    with pytest.raises(AirflowFailException, match="forecast category is now lost"):
        sensor(failure_categories="lost").execute({})


@pytest.mark.parametrize("found", ["pipeline", "on_hold", None])
def test_the_category_that_the_first_poll_finds_goes_to_the_triggerer_as_baseline(sandbox: Sandbox, found: Any) -> None:
    sandbox.set_opportunity(UUID, forecast_category=found)
    kwargs = kwargs_of(deferral_of(sensor(target_categories=None)))
    assert kwargs["target_categories"] is None
    assert kwargs["baseline_category"] == found


@pytest.mark.usefixtures("opportunity")
def test_a_baseline_that_was_given_goes_to_the_triggerer() -> None:
    waiting = sensor(target_categories=None, baseline_category="pipeline")
    assert kwargs_of(deferral_of(waiting))["baseline_category"] == "pipeline"


def test_a_change_from_a_baseline_that_was_given_needs_no_triggerer(sandbox: Sandbox) -> None:
    won = sandbox.set_opportunity(UUID, forecast_category="won")
    assert sensor(target_categories=None, baseline_category="pipeline").execute({}) == won


@pytest.mark.parametrize("found", ["pipeline", None])
def test_a_change_before_the_triggerers_first_poll_is_found(sandbox: Sandbox, found: str | None) -> None:
    sandbox.set_opportunity(UUID, forecast_category=found)
    waiting = sensor(target_categories=None)
    kwargs = json.loads(json.dumps(kwargs_of(deferral_of(waiting))))
    lost = sandbox.set_opportunity(UUID, forecast_category="lost")

    async def test() -> None:
        payload = await payload_of(OpportunityForecastCategoryTrigger(**kwargs))
        assert sensor(target_categories=None).execute_complete({}, json.loads(json.dumps(payload))) == lost

    run(test())


@pytest.mark.usefixtures("opportunity")
def test_the_triggerer_gets_what_is_left_of_the_timeout(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault(kind="slow", seconds=0.2))
    timeout = deferral_of(sensor(timeout=60)).timeout
    assert datetime.timedelta(seconds=30) < timeout <= datetime.timedelta(seconds=59.8)


@pytest.mark.usefixtures("opportunity")
def test_it_times_out_on_the_worker_when_the_first_poll_took_all_the_time(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault(kind="slow", seconds=0.3))
    with pytest.raises(AirflowSensorTimeout):
        sensor(timeout=0.2).execute({})


@pytest.mark.usefixtures("opportunity")
@pytest.mark.parametrize("rendered", [{"won"}, ("won",), iter(["won"]), ForecastCategory.WON], ids=type)
def test_what_came_of_a_template_goes_to_the_triggerer_as_json(rendered: Any) -> None:
    waiting = sensor(target_categories="{{ params.targets }}")
    waiting.target_categories = rendered
    kwargs = kwargs_of(deferral_of(waiting))
    assert json.loads(json.dumps(kwargs)) == kwargs
    assert kwargs["target_categories"] in (["won"], "won")
    assert type(kwargs["target_categories"]) in (list, str)


@pytest.mark.usefixtures("opportunity")
@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"opportunity_uuid": uuid.UUID(UUID)}, {"opportunity_uuid": UUID}),
        ({"opportunity_uuids": [uuid.UUID(UUID)]}, {"opportunity_uuids": [UUID]}),
        ({"opportunity_uuids": numpy.array([UUID])}, {"opportunity_uuids": [UUID]}),
        ({"target_values": Decimal("5E+3")}, {"target_values": 5000}),
        ({"target_values": numpy.int64(5000)}, {"target_values": 5000}),
        ({"target_values": [numpy.int64(5000), None]}, {"target_values": [5000, None]}),
        ({"field": "custom.ratio", "target_values": numpy.float64(0.5)}, {"target_values": 0.5}),
        ({"field": "custom.ready", "target_values": numpy.True_}, {"target_values": True}),
    ],
)
@pytest.mark.parametrize("is_rendered", [False, True])
def test_values_that_xcom_hands_over_as_objects_go_to_the_triggerer_as_json(
    given: dict[str, Any], plain: dict[str, Any], *, is_rendered: bool
) -> None:
    options: dict[str, Any] = {"field": "amount_in_cents", "target_values": 5000, **given}
    if "opportunity_uuids" not in options:
        options = {"opportunity_uuid": UUID, **options}
    rendered = {name: value for name, value in options.items() if name in plain} if is_rendered else {}
    waiting = OpportunityFieldSensor(
        task_id="wait", deferrable=True, **{**options, **dict.fromkeys(rendered, "{{ x }}")}
    )
    for name, value in rendered.items():
        setattr(waiting, name, value)
    kwargs = deferral_of(waiting).trigger.serialize()[1]
    assert json.loads(json.dumps(kwargs)) == kwargs
    assert {name: kwargs[name] for name in plain} == plain


# Errors at the first poll


@pytest.mark.parametrize("options", [{}, {"target_categories": None, "baseline_category": "pipeline"}])
def test_a_transient_error_at_the_first_poll_is_left_to_the_triggerer(
    sandbox: Sandbox, waits: list[float], options: dict[str, Any]
) -> None:
    sandbox.inject_fault(LASTING_FAULT)
    kwargs = kwargs_of(deferral_of(sensor(**options)))
    assert kwargs["baseline_category"] == options.get("baseline_category")
    assert len(waits) == MAX_RETRIES


@pytest.mark.usefixtures("opportunity", "waits")
def test_without_a_baseline_it_polls_on_the_worker_until_it_has_one(sandbox: Sandbox) -> None:
    # Each poll makes three requests.
    sandbox.inject_fault(Fault(kind="status", times=7))
    deferral = deferral_of(sensor(target_categories=None))
    assert kwargs_of(deferral)["baseline_category"] == "pipeline"
    assert len(sandbox.requests) == 8


def test_a_permanent_error_at_the_first_poll_fails_without_retry(sandbox: Sandbox) -> None:
    sandbox.rotate_api_key("nobody-told-airflow")
    with pytest.raises(AirflowFailException, match="HTTP 401"):
        sensor().execute({})


@pytest.mark.usefixtures("sandbox")
def test_a_malformed_uuid_fails_without_retry() -> None:
    with pytest.raises(AirflowFailException, match="opportunity_uuid: expected one like"):
        sensor(opportunity_uuid="4ee13ca4").execute({})


@pytest.mark.parametrize("flag", ["soft_fail", "never_fail"])
def test_a_failure_at_the_first_poll_skips_under(sandbox: Sandbox, flag: str) -> None:
    sandbox.set_opportunity(UUID, forecast_category="lost")
    with pytest.raises(AirflowSkipException):
        sensor(failure_categories="lost", **{flag: True}).execute({})


@pytest.mark.usefixtures("opportunity")
@pytest.mark.parametrize("flag", ["soft_fail", "never_fail", "silent_fail"])
def test_a_deferral_is_no_failure_under(flag: str) -> None:
    deferral_of(sensor(**{flag: True}))


@pytest.mark.usefixtures("opportunity")
def test_silent_fail_goes_to_the_triggerer_after_a_defect_at_the_first_poll(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrieve = ChartMogulHook.retrieve_opportunity
    defects = iter([LookupError("a defect")])

    def retrieve_opportunity(self: ChartMogulHook, opportunity_uuid: str) -> dict[str, Any]:
        for defect in defects:
            raise defect
        return retrieve(self, opportunity_uuid)

    monkeypatch.setattr(ChartMogulHook, "retrieve_opportunity", retrieve_opportunity)
    deferral_of(sensor(silent_fail=True))
    assert len(sandbox.requests) == 1


# Rejected arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exponential_backoff": True}, "exponential_backoff does not act when deferrable"),
        ({"deferrable": False, "start_from_trigger": True}, "act only with deferrable=True"),
        ({"deferrable": False, "end_from_trigger": True}, "act only with deferrable=True"),
        ({"target_categories": None, "start_from_trigger": True}, "nothing to measure a change from"),
        ({"target_categories": "win"}, "'win' is not a forecast category"),
        ({"failure_categories": ["won"]}, "in target_categories and in failure_categories"),
        ({"baseline_category": "pipelin"}, "'pipelin' is not a forecast category"),
    ],
)
def test_what_would_not_act_is_refused_when_the_dag_is_parsed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sensor(**options)


def test_the_mode_is_overwritten_since_a_rescheduled_task_would_count_its_timeout_again() -> None:
    assert sensor(mode="reschedule").mode == "poke"
    assert sensor(mode="reschedule", deferrable=False).mode == "reschedule"


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@pytest.mark.usefixtures("opportunity", "waits")
def test_the_mode_has_no_meaning(sandbox: Sandbox, mode: str) -> None:
    sandbox.inject_fault(Fault(kind="status", times=7))
    outcome = run_of(lambda: dag_with({"mode": mode, "target_categories": None})).start("wait")
    assert outcome.state == "deferred"


@pytest.mark.parametrize("default", ["True", "False"])
def test_it_is_deferrable_when_airflows_configuration_says_so(monkeypatch: pytest.MonkeyPatch, default: str) -> None:
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", default)
    waiting = OpportunityForecastCategorySensor(task_id="wait", opportunity_uuid=UUID)
    assert waiting.deferrable is (default == "True")
    assert sensor(deferrable=True).deferrable is True
    assert sensor(deferrable=False).deferrable is False

"""The reaction of hook, operator and sensor to each fault."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.operators.opportunity import RetrieveOpportunityOperator
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor
from tests.conftest import MAX_RETRIES
from tests.support.faults import CASES, REQUEST, TIMEOUT, Case

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs

TRANSIENT = [case for case in CASES if case.error.transient]
PERMANENT = [case for case in CASES if not case.error.transient]


pytestmark = pytest.mark.usefixtures("sandbox", "waits", "_short_timeout")


@pytest.fixture
def _short_timeout(sandbox: Sandbox, connect: Connect) -> None:  # noqa: ARG001  # before the fixture that connects
    connect(extra={"max_retries": MAX_RETRIES, "timeout": TIMEOUT})


def cases(*selected: Case) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", selected, ids=lambda case: case.name)


def sensor() -> OpportunityForecastCategorySensor:
    return OpportunityForecastCategorySensor(
        task_id="wait",
        opportunity_uuid=EXAMPLE_OPPORTUNITY_UUID,
        target_categories="won",
        mode="poke",
        poke_interval=0.01,
        timeout=60,
        deferrable=False,
    )


def test_which_faults_are_transient() -> None:
    assert [case.name for case in PERMANENT] == ["401", "402", "403", "404", "422"]


@cases(*CASES)
def test_hook_raises_the_error_that_fits(case: Case, sandbox: Sandbox, waits: list[float]) -> None:
    case.begin(sandbox)
    with pytest.raises(ChartMogulError) as failure:
        ChartMogulHook().retrieve_opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert type(failure.value) is case.error
    assert str(failure.value).startswith(REQUEST + case.message)
    assert str(failure.value).endswith(case.error.advice)
    assert len(sandbox.requests) == case.requests
    assert len(waits) == case.tries - 1


@cases(*PERMANENT)
def test_operator_fails_without_retry(case: Case, sandbox: Sandbox) -> None:
    case.begin(sandbox)
    with pytest.raises(AirflowFailException) as failure:
        RetrieveOpportunityOperator(task_id="x", opportunity_uuid=EXAMPLE_OPPORTUNITY_UUID).execute({})
    assert str(failure.value).startswith(REQUEST + case.message)
    assert len(sandbox.requests) == case.requests


@cases(*TRANSIENT)
def test_operator_leaves_retries_to_airflow(case: Case, sandbox: Sandbox, waits: list[float]) -> None:
    case.begin(sandbox)
    with pytest.raises(ChartMogulError) as failure:
        RetrieveOpportunityOperator(task_id="x", opportunity_uuid=EXAMPLE_OPPORTUNITY_UUID).execute({})
    assert type(failure.value) is case.error
    assert str(failure.value).startswith(REQUEST + case.message)
    assert len(sandbox.requests) == case.requests
    assert len(waits) == case.tries - 1


@cases(*PERMANENT)
def test_sensor_fails_without_retry(case: Case, sandbox: Sandbox) -> None:
    case.begin(sandbox)
    with pytest.raises(AirflowFailException) as failure:
        sensor().execute({})
    assert str(failure.value).startswith(REQUEST + case.message)
    assert len(sandbox.requests) == case.requests


@cases(*TRANSIENT)
def test_sensor_waits_on(case: Case, sandbox: Sandbox, waits: list[float], logs: Logs) -> None:
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
    waiting = sensor()
    case.begin(sandbox)
    assert not waiting.poke({})
    assert len(sandbox.requests) == case.requests
    assert len(waits) == case.tries - 1
    (said,) = [message for message in logs.messages if "The wait continues." in message]
    assert said.startswith(REQUEST)
    case.end(sandbox)
    assert waiting.poke({})


@cases(*TRANSIENT)
def test_sensor_succeeds_once_the_fault_is_over(case: Case, sandbox: Sandbox) -> None:
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
    case.begin(sandbox)
    repair = threading.Timer(0.2, case.end, [sandbox])
    repair.start()
    assert sensor().execute({}) == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    repair.join()

from __future__ import annotations

import inspect
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
)

from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.sandbox import Fault
from tests.hooks.test_requests import NOT_UUIDS
from tests.support.airflow_versions import HAS_TASK_STATE_STORE
from tests.support.dag_runs import run_of
from tests.support.sensors import UUID, dag_with, move, sensor

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs


# Conditions


def test_it_waits_for_the_target_and_returns_the_json_of_the_server(sandbox: Sandbox) -> None:
    sandbox.advance(UUID, "committed", "won", every=0.1)
    found = sensor(target_categories="won").execute({})
    assert json.dumps(found) == json.dumps(sandbox.opportunity(UUID))
    assert found["forecast_category"] == "won"
    assert len(sandbox.requests) > 1


def test_a_target_that_is_reached_already_is_enough(sandbox: Sandbox) -> None:
    won = move(sandbox, "won")
    assert sensor(target_categories="won").execute({}) == won
    assert len(sandbox.requests) == 1


def test_without_targets_it_waits_for_any_change_from_the_first_poll(sandbox: Sandbox) -> None:
    waiting = sensor()
    assert not waiting.poke({})
    assert not waiting.poke({})
    found = move(sandbox, "pipeline")
    result = waiting.poke({})
    assert result
    assert result.xcom_value == found


@pytest.mark.usefixtures("waits")
def test_the_baseline_is_from_the_first_successful_poll(sandbox: Sandbox) -> None:
    waiting = sensor()
    sandbox.inject_fault(Fault("html", times=1))
    assert not waiting.poke({})
    assert not waiting.poke({})
    move(sandbox, None)
    assert waiting.poke({})


def test_a_change_is_measured_from_the_baseline_that_was_given(sandbox: Sandbox) -> None:
    waiting = sensor(baseline_category=ForecastCategory.COMMITTED)
    move(sandbox, "committed")
    assert not waiting.poke({})
    move(sandbox, "best_case")
    assert waiting.poke({})
    assert sensor(baseline_category="pipeline").poke({})


@pytest.mark.parametrize("category", ["unheard_of", None, ""])
def test_what_chartmogul_may_add_one_day_is_a_change_but_no_target(category: Any, sandbox: Sandbox) -> None:
    changed = move(sandbox, category)
    assert not sensor(target_categories=list(ForecastCategory)).poke({})
    assert sensor(baseline_category="best_case").execute({}) == changed


@pytest.mark.parametrize("options", [{}, {"target_categories": "won"}, {"baseline_category": "lost"}])
def test_a_failure_category_ends_the_wait_without_retry(options: dict[str, Any], sandbox: Sandbox) -> None:
    move(sandbox, "lost")
    with pytest.raises(AirflowFailException, match=f"Opportunity {UUID}: forecast category is now lost"):
        sensor(failure_categories="lost", **options).execute({})


def test_its_log_lines_have_what_helps_and_nothing_private(sandbox: Sandbox, logs: Logs) -> None:
    sandbox.set_opportunity(UUID, owner="ada@example.com", amount_in_cents=987654321)
    waiting = sensor(target_categories={"won", "committed"})
    assert not waiting.poke({})
    move(sandbox, "won")
    waiting.execute({})
    assert f"Opportunity {UUID}: forecast category best_case, waiting for committed or won." in logs.messages
    assert f"Opportunity {UUID}: forecast category is now won." in logs.messages
    assert "ada@example.com" not in logs.everything
    assert "987654321" not in logs.everything


@pytest.mark.parametrize("uuid", [uuid for uuid in NOT_UUIDS if uuid is not None])
def test_a_malformed_uuid_fails_without_retry_or_request(uuid: Any, sandbox: Sandbox) -> None:
    with pytest.raises(AirflowFailException, match="opportunity_uuid: expected one like"):
        sensor(opportunity_uuid=uuid, target_categories="won").execute({})
    assert sandbox.requests == []


@pytest.mark.usefixtures("sandbox")
def test_an_opportunity_that_does_not_exist_is_named_with_its_request() -> None:
    missing = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(AirflowFailException, match=f"GET /v1/opportunities/{missing}"):
        sensor(opportunity_uuid=missing, target_categories="won").execute({})


def test_a_bad_connection_fails_without_retry(connect: Connect) -> None:
    connect(password="")
    with pytest.raises(AirflowFailException, match="'chartmogul_default', password: missing"):
        sensor(target_categories="won").execute({})


def test_all_polls_share_one_session(sandbox: Sandbox) -> None:
    waiting = sensor(target_categories="won")
    for _ in range(3):
        waiting.poke({})
    adapter: Any = waiting._hook.get_conn().get_adapter(sandbox.url)
    pools = adapter.poolmanager.pools
    assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118  # it is no dict


# Reschedule mode


def test_reschedule_mode_polls_once_a_start(sandbox: Sandbox) -> None:
    run = run_of(lambda: dag_with(mode="reschedule", target_categories="won", failure_categories="lost"))
    assert run.start("wait").state == "up_for_reschedule"
    assert len(sandbox.requests) == 1
    assert run.start("wait").state == "up_for_reschedule"
    won = move(sandbox, "won")
    outcome = run.start("wait")
    assert outcome.state == "success"
    assert outcome.result == won
    assert len(sandbox.requests) == 3


def test_reschedule_mode_measures_from_the_baseline_that_was_given(sandbox: Sandbox) -> None:
    run = run_of(lambda: dag_with(mode="reschedule", baseline_category="best_case"))
    assert run.start("wait").state == "up_for_reschedule"
    move(sandbox, "committed")
    assert run.start("wait").state == "success"


def test_reschedule_mode_fails_without_retry_on_a_failure_category(sandbox: Sandbox) -> None:
    run = run_of(lambda: dag_with(mode="reschedule", target_categories="won", failure_categories="lost", retries=3))
    assert run.start("wait").state == "up_for_reschedule"
    move(sandbox, "lost")
    assert run.start("wait").state == "failed"


@pytest.mark.usefixtures("waits")
def test_reschedule_mode_outlasts_transient_errors(sandbox: Sandbox) -> None:
    run = run_of(lambda: dag_with(mode="reschedule", target_categories="won"))
    sandbox.inject_fault(Fault("status", status=503, times=None))
    assert run.start("wait").state == "up_for_reschedule"
    sandbox.clear_faults()
    move(sandbox, "won")
    assert run.start("wait").state == "success"


def test_the_baseline_survives_reschedules_and_retries(sandbox: Sandbox) -> None:
    def build() -> DAG:
        return dag_with(mode="reschedule", retries=2, timeout=3600)

    if not HAS_TASK_STATE_STORE:
        # There is no state store, so this sensor is rejected; see above.
        with pytest.raises(ValueError, match="In reschedule mode Airflow"):
            build()
        return
    run = run_of(build)
    first = run.start("wait")
    assert first.state == "up_for_reschedule"
    (stored,) = [message for message in first.messages if type(message).__name__ == "SetTaskStateStore"]
    assert stored.value == {"baselines": {UUID: "best_case"}, "met": {}}
    run.lose_worker("wait")
    again = run.start("wait")
    assert again.state == "up_for_reschedule"
    assert not [message for message in again.messages if type(message).__name__ == "SetTaskStateStore"]
    # A change between two polls, and another worker.
    committed = move(sandbox, "committed")
    run.lose_worker("wait")
    outcome = run.start("wait")
    assert outcome.state == "success"
    assert outcome.result == committed


@pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="before Airflow 3.3 such a sensor is refused")
def test_a_null_baseline_survives_reschedules_too(sandbox: Sandbox) -> None:
    move(sandbox, None)
    run = run_of(lambda: dag_with(mode="reschedule"))
    assert run.start("wait").state == "up_for_reschedule"
    assert run.start("wait").state == "up_for_reschedule"
    move(sandbox, "pipeline")
    assert run.start("wait").state == "success"


# Behaviour that all sensors share


class PlainSensor(BaseSensorOperator):
    """Another sensor with the same failure."""

    def __init__(self, *, error: Exception | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error = error

    def poke(self, context: Any) -> bool:
        if self.error:
            raise self.error
        return False


def outcome_of(waiting: BaseSensorOperator) -> type[BaseException]:
    with pytest.raises(AirflowException) as failure:
        waiting.execute({})
    return failure.type


@pytest.mark.parametrize("what", ["timeout", "permanent error", "failure category"])
@pytest.mark.parametrize("flag", ["", "soft_fail", "never_fail", "silent_fail"])
def test_flags_act_as_in_every_sensor(what: str, flag: str, sandbox: Sandbox) -> None:
    flags: dict[str, Any] = {flag: True} if flag else {}
    timing = {"poke_interval": 0.01, "timeout": 0.05}
    if what == "permanent error":
        sandbox.remove_opportunity(UUID)
    elif what == "failure category":
        move(sandbox, "lost")
    ours = sensor(target_categories="won", failure_categories="lost", **timing, **flags)
    error = None if what == "timeout" else AirflowFailException()
    other = PlainSensor(task_id="other", error=error, **timing, **flags)
    found = outcome_of(ours)
    assert found is outcome_of(other)
    if flag == "":
        assert found is (AirflowSensorTimeout if what == "timeout" else AirflowFailException)
    elif flag == "soft_fail":
        assert found is AirflowSkipException


@pytest.mark.usefixtures("waits")
def test_soft_fail_does_not_skip_for_transient_errors(sandbox: Sandbox) -> None:
    move(sandbox, "won")
    sandbox.inject_fault(Fault("status", status=503, times=9))
    assert sensor(target_categories="won", soft_fail=True).execute({})["forecast_category"] == "won"


@pytest.mark.usefixtures("waits")
def test_a_wait_that_sees_nothing_but_errors_times_out(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=503, times=None))
    named = (
        rf"The wait for opportunity {UUID} timed out after 0\.05 s \(forecast category: won; connection: chartmogul_"
    )
    with pytest.raises(AirflowSensorTimeout, match=named):
        sensor(target_categories="won", timeout=0.05).execute({})


def test_silent_fail_outlasts_defects(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    won = move(sandbox, "won")
    waiting = sensor(target_categories="won", silent_fail=True)
    defect = monkeypatch.context()
    defect.__enter__().setattr(waiting, "_condition", lambda: 1 / 0)
    repair = threading.Timer(0.1, defect.__exit__, [None, None, None])
    repair.start()
    assert waiting.execute({}) == won
    repair.join()


class _Clock:
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds + 0.001


def sleeps_of(waiting: BaseSensorOperator, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = _Clock()
    monkeypatch.setattr(inspect.getmodule(BaseSensorOperator), "time", clock)
    with pytest.raises(AirflowSensorTimeout):
        waiting.execute({})
    return clock.sleeps


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("options", [{}, {"exponential_backoff": True}, {"exponential_backoff": True, "max_wait": 20}])
def test_it_polls_as_often_as_every_sensor(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    timing = {"poke_interval": 10, "timeout": 200, **options}
    sleeps = sleeps_of(sensor(target_categories="won", **timing), monkeypatch)
    others = sleeps_of(PlainSensor(task_id="wait", error=None, **timing), monkeypatch)
    assert len(sleeps) > 2
    assert sleeps == pytest.approx(others, abs=1)
    if options:
        assert max(sleeps) > min(sleeps)
    else:
        assert set(sleeps) == {10}
    assert max(sleeps) <= options.get("max_wait", 200)


def test_soft_fail_and_never_fail_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="mutually exclusive"):
        sensor(target_categories="won", soft_fail=True, never_fail=True)

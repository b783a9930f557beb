"""The base class of the sensors that wait for opportunities."""

from __future__ import annotations

import datetime
import time
from abc import abstractmethod
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_chartmogul._airflow.failures import fail_fast_on_permanent_errors
from airflow_provider_chartmogul._airflow.progress import ProgressLog
from airflow_provider_chartmogul._airflow.start_from_trigger import start_trigger_args
from airflow_provider_chartmogul._airflow.wait_state import WaitState
from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.links.chartmogul import ChartMogulCustomerLink
from airflow_provider_chartmogul.opportunity._conditions import NOTSET
from airflow_provider_chartmogul.opportunity._field_values import is_value
from airflow_provider_chartmogul.opportunity._values import check_awaited_uuids
from airflow_provider_chartmogul.sensors._arguments import check_together, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_chartmogul.opportunity._conditions import WaitCondition
    from airflow_provider_chartmogul.triggers.opportunity import OpportunityFieldTrigger

_RETENTION_MARGIN = datetime.timedelta(days=30)
_MORE_TRIES_AT_THE_END = 9
_FIRST_PAUSE_AT_THE_END = 60.0  # seconds
_UNEXPECTED_ERROR = "Trigger failure"  # Airflow's reason for a trigger that raised


class OpportunityWaitSensor(BaseSensorOperator):
    """Wait until the condition of the subclass is met, which also documents the parameters."""

    operator_extra_links = (ChartMogulCustomerLink(),)
    ui_color = "#d8ecf5"
    trigger_class: ClassVar[type[OpportunityFieldTrigger]]
    _TARGETS: ClassVar[str]
    _BASELINE: ClassVar[str]

    def __init__(
        self,
        *,
        opportunity_uuid: str | None,
        opportunity_uuids: Iterable[str] | str | None,
        wait_for: str,
        chartmogul_conn_id: str,
        deferrable: bool | None,
        end_from_trigger: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.opportunity_uuid = opportunity_uuid
        self.opportunity_uuids = plain(opportunity_uuids)
        self.wait_for = wait_for
        self.chartmogul_conn_id = chartmogul_conn_id
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.deferrable = deferrable
        if deferrable:
            # The timeout of a task that is rescheduled before it defers would start again.
            self.mode = "poke"
        self.end_from_trigger = end_from_trigger
        self._started_at = 0.0
        self._state: WaitState | None = None
        self._progress = ProgressLog(self.log.info)

    def _finish_arguments(self, *, start_from_trigger: bool, needs_first_poll: bool) -> None:
        """
        Validate the combination of arguments at parse time, and prepare a start in the triggerer.

        :param needs_first_poll: whether the baseline has to be polled first
        """
        check_together(
            self,
            start_from_trigger=start_from_trigger,
            parameters_without_first_poll=f"{self._TARGETS} or {self._BASELINE}" if needs_first_poll else None,
        )
        if start_from_trigger:
            trigger_kwargs = self._trigger_kwargs(getattr(self, self._BASELINE))
            arguments = start_trigger_args(self.trigger_class, trigger_kwargs, self.timeout)
            # On the instance: Airflow would start a mapped sensor with the class's arguments, before they are known.
            self.start_trigger_args, self.start_from_trigger = arguments, arguments is not None

    @abstractmethod
    def _condition(self) -> WaitCondition:
        """Return the condition, from rendered values; raise ValueError if there is none."""

    @abstractmethod
    def _given_baseline(self) -> Any:
        """Return the baseline as ChartMogul writes it; NOTSET if none was given; raise ValueError if it is invalid."""

    @abstractmethod
    def _value_kwargs(self, baseline: Any) -> dict[str, Any]:
        """Return the trigger's value arguments; the baseline is NOTSET if there is none."""

    def execute(self, context: Context) -> Any:
        """Poll until the condition is met; when deferrable, poll once and leave the wait to the triggerer."""
        if self.start_from_trigger:
            self.log.warning("Airflow starts no mapped task in the triggerer, so start_from_trigger has no effect.")
        self._make_plain()
        self._started_at = time.monotonic()
        with self._explained_timeout():
            return super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral; name the wait in a timeout, unlike Airflow's own message."""
        if (next_kwargs or {}).get("error") == _UNEXPECTED_ERROR:
            self.soft_fail = False  # Airflow would skip the task, which it does not for such an error on a worker
        with self._explained_timeout():
            return super().resume_execution(next_method, next_kwargs, context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll the opportunities once."""
        with fail_fast_on_permanent_errors():
            condition, baseline, uuids = self._condition(), self._given_baseline(), self._uuids()
        is_baseline_missing = condition.needs_baseline and baseline is NOTSET
        state = self._load_state(context, uuids, is_kept=is_baseline_missing or not self._is_single)
        try:
            pending = [uuid for uuid in uuids if uuid not in state.met]
            found = dict(zip(pending, self._retrieve(pending), strict=True))
            self._evaluate(found, condition, baseline, state)
            if len(state.met) == len(uuids) or (state.met and self.wait_for == "any"):
                return PokeReturnValue(is_done=True, xcom_value=self._results(uuids, found, state))
        except ChartMogulError as error:
            self.log.warning("%s The wait continues.", error.summary)
        elapsed = time.monotonic() - self._started_at
        if is_baseline_missing and self._is_single:
            baseline = state.baselines.get(uuids[0], NOTSET)
        # Without a baseline, the triggerer would miss a change made during an error.
        has_baselines = not is_baseline_missing or all(uuid in state.baselines for uuid in uuids)
        if self.deferrable and has_baselines and elapsed < self.timeout:
            self.defer(
                trigger=self.trigger_class(**self._trigger_kwargs(baseline, state)),
                method_name="execute_complete",
                timeout=datetime.timedelta(seconds=self.timeout - elapsed),
            )
        return PokeReturnValue(is_done=False)

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """
        Return the opportunity, or the opportunities, that the triggerer polled.

        :raises AirflowFailException: if the wait ended with a failure value or with a permanent error
        :raises RuntimeError: if the event is not one of this wait's trigger
        """
        self._make_plain()
        with fail_fast_on_permanent_errors():
            condition, uuids = self._condition(), self._uuids()
        match event:
            case {"error": str(message)} if len(event) == 1:
                raise AirflowFailException(message)
            case {"opportunity": dict() as found, **rest} if self._is_single and found.get("uuid") == uuids[0]:
                value = condition.value_of(found)
                self._check_failure(uuids[0], value, condition)
                if self._is_own(rest, condition) and condition.is_target(value, rest.get(self._BASELINE)):
                    self._log_end(uuids[0], value, condition)
                    return found
            case {"values": dict() as met} if len(event) == 1 and not self._is_single and met.keys() <= set(uuids):
                for uuid, value in met.items():
                    self._check_failure(uuid, value, condition)
                is_met = condition.needs_baseline or all(condition.is_target(value, None) for value in met.values())
                if is_met and (len(met) == len(uuids) or (met and self.wait_for == "any")):
                    self.log.info("%d of %d opportunities done: %s.", len(met), len(uuids), condition)
                    return self._retrieve_with_retries([uuid for uuid in uuids if uuid in met])
        raise RuntimeError(
            f"The triggerer sent an event that does not end the wait for {self._subject()}. The DAG or this "
            "provider may have changed meanwhile; clear the task to start the wait again."
        )

    def _trigger_kwargs(self, baseline: Any, state: WaitState | None = None) -> dict[str, Any]:
        """Return the trigger's arguments; without a state, for a start in the triggerer."""
        kwargs = {
            "opportunity_uuid": self.opportunity_uuid,
            "opportunity_uuids": self.opportunity_uuids,
            "wait_for": self.wait_for,
            **self._value_kwargs(baseline),
            "poll_interval": self.poke_interval,
            "chartmogul_conn_id": self.chartmogul_conn_id,
            "silent_fail": self.silent_fail,
            "starts_wait": state is None,
            "end_from_trigger": self.end_from_trigger,
            "stores_result": self.do_xcom_push,
        }
        if state and not self._is_single:
            kwargs["baseline_values"] = state.baselines
            kwargs["met_values"] = state.met
        return kwargs

    @cached_property
    def _hook(self) -> ChartMogulHook:
        return ChartMogulHook(self.chartmogul_conn_id)

    def _make_plain(self) -> None:
        """Convert rendered templates and XComs, as the constructor converts literal values."""
        for name in self.template_fields:
            setattr(self, name, plain(getattr(self, name)))

    @property
    def _is_single(self) -> bool:
        return self.opportunity_uuids is None

    def _uuids(self) -> list[str]:
        return check_awaited_uuids(self.opportunity_uuid, self.opportunity_uuids, self.wait_for)

    def _subject(self) -> str:
        uuids = self._uuids()
        return f"opportunity {uuids[0]}" if self._is_single else f"{len(uuids)} opportunities"

    @contextmanager
    def _explained_timeout(self) -> Iterator[None]:
        try:
            yield
        except AirflowSensorTimeout as error:
            self._make_plain()
            condition = self._condition()
            raise AirflowSensorTimeout(
                f"The wait for {self._subject()} timed out after {self.timeout:.10g} s ({condition.label}: "
                f"{condition}; connection: {self.chartmogul_conn_id}). The log above has the last value; clear the "
                "task to wait again."
            ) from error

    def _load_state(self, context: Context, uuids: list[str], *, is_kept: bool) -> WaitState:
        if self._state is None:
            tries = datetime.timedelta(seconds=self.timeout) * ((self.retries or 0) + 1)
            store = context.get("task_state_store") if is_kept else None
            self._state = WaitState(store, uuids, tries + _RETENTION_MARGIN)
        return self._state

    def _retrieve(self, uuids: list[str]) -> Any:
        with fail_fast_on_permanent_errors():
            if self._is_single:
                return [self._hook.retrieve_opportunity(uuid) for uuid in uuids]
            return self._hook.retrieve_opportunities(uuids) if uuids else []

    def _retrieve_with_retries(self, uuids: list[str]) -> Any:
        """Retrieve opportunities with retries, so that a transient error does not fail a task after a long wait."""
        for number in range(_MORE_TRIES_AT_THE_END):
            try:
                return self._retrieve(uuids)
            except ChartMogulError as error:
                pause = min(self.poke_interval, _FIRST_PAUSE_AT_THE_END * 2**number)
                self.log.warning("%s Trying again in %s s.", error.summary, pause)
                time.sleep(pause)
        return self._retrieve(uuids)

    def _evaluate(self, found: dict[str, Any], condition: WaitCondition, baseline: Any, state: WaitState) -> None:
        """Record which of the opportunities meet the condition."""
        for uuid, opportunity in found.items():
            self._check_failure(uuid, condition.value_of(opportunity), condition)
        for uuid, opportunity in found.items():
            value = condition.value_of(opportunity)
            is_missing = baseline is NOTSET and condition.needs_baseline
            if condition.is_met(opportunity, state.baselines.setdefault(uuid, value) if is_missing else baseline):
                state.met[uuid] = value
            elif self._is_single:
                self.log.info("Opportunity %s: %s", uuid, condition.describe(value))
        state.save()
        if self._is_single:
            for uuid, value in state.met.items():
                self._log_end(uuid, value, condition)
        else:
            self._progress.report(len(state.met), len(state.opportunity_uuids), condition)

    def _results(self, uuids: list[str], found: dict[str, Any], state: WaitState) -> Any:
        """Return the JSON of one opportunity, or of all that met the condition."""
        # Opportunities that met it in an earlier poll may have changed since.
        earlier = [uuid for uuid in state.met if uuid not in found]
        found |= zip(earlier, self._retrieve(earlier), strict=True)
        results = [found[uuid] for uuid in uuids if uuid in state.met]
        return results[0] if self._is_single else results

    def _is_own(self, rest: dict[Any, Any], condition: WaitCondition) -> bool:
        """Return whether the remainder of an event, its baseline, is that of this wait."""
        given = self._given_baseline()
        if self._BASELINE in rest:
            return len(rest) == 1 and (given is NOTSET or is_value(condition.field, rest[self._BASELINE], given))
        return not rest and not condition.needs_baseline

    def _check_failure(self, uuid: str, value: Any, condition: WaitCondition) -> None:
        if condition.is_failure(value):
            raise AirflowFailException(f"Opportunity {uuid}: {condition.describe_end(value)}.")

    def _log_end(self, uuid: str, value: Any, condition: WaitCondition) -> None:
        self.log.info("Opportunity %s: %s.", uuid, condition.describe_end(value))

"""Triggers that drive asset watchers."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

try:
    from airflow.triggers.base import BaseEventTrigger
except ImportError:  # Airflow 2.11, which has no asset watchers
    BaseEventTrigger = BaseTrigger  # type: ignore[misc, assignment]

from airflow_provider_chartmogul._airflow.templates import is_templated
from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.opportunity._conditions import WaitCondition
from airflow_provider_chartmogul.opportunity._values import check_opportunity_uuid, truncated_repr

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from airflow_provider_chartmogul._polling.change_detector import Overview

_SECONDS_BETWEEN_LOADS = 30
# The triggerer stores events, and the scheduler makes runs for them, each about once a second, or later when busy. What
# was seen is saved only after that.
_SECONDS_UNTIL_EVENTS_MAKE_A_RUN = 10


class _ArgumentError(TypeError, ValueError):
    """A mistake in a DAG. A TypeError too, since any other error in a constructor ends all triggers of a triggerer."""


class OpportunityForecastCategoryEventTrigger(BaseEventTrigger):
    """
    Emit an event for each change of an opportunity's forecast category, for an Airflow ``AssetWatcher``.

    The event's payload is::

        {"schema_version": 1, "opportunity_uuid": …, "customer_uuid": …, "previous_forecast_category": …,
         "forecast_category": …, "updated_at": …, "observed_at": …}

    An opportunity that is new counts as a change from null. What is there at the first sight of the account sets the
    baseline without events. Changes in between two looks are seen as one.

    Delivery is at least once: what a look saw is saved some seconds after the last of its events, so that a triggerer
    that is killed in between sends them again; ``opportunity_uuid`` and ``updated_at`` together tell a repetition. On
    Airflow 3.3 and later, changes made while no triggerer runs are found at the next start. Before 3.3 they are lost,
    since Airflow has nowhere to keep what was seen.

    Errors never end the watching. Look for them in the triggerer's log; Airflow shows them nowhere else.

    :param target_categories: emit only when the category becomes this one, or one of these; None: on any change
    :param opportunity_uuids: look only at this opportunity, or these
    :param customer_uuid: emit only for opportunities of this customer, ``cus_…``
    :param owner: emit only for opportunities of this owner, an email address
    :param pipeline: emit only for opportunities in the pipeline of this name
    :param pipeline_stage: emit only for opportunities in the stage of this name
    :param poll_interval: seconds between two looks
    :param chartmogul_conn_id: the Airflow connection to use
    :param name: tells apart triggers of different assets that are alike otherwise; Airflow makes one of these
    :raises ValueError: if something is no category, no UUID, no number of seconds, or a template, which Airflow does
        not render here
    """

    __module__ = "airflow_provider_chartmogul.triggers.opportunity"  # not of this private one, in stored triggers

    def __init__(
        self,
        *,
        target_categories: str | Iterable[str] | None = None,
        opportunity_uuids: str | Iterable[str] | None = None,
        customer_uuid: str | None = None,
        owner: str | None = None,
        pipeline: str | None = None,
        pipeline_stage: str | None = None,
        poll_interval: float = 60.0,
        chartmogul_conn_id: str = "chartmogul_default",
        name: str | None = None,
    ) -> None:
        if BaseEventTrigger is BaseTrigger:
            raise _ArgumentError(f"{type(self).__name__} needs Airflow 3.0 or later, which has asset watchers.")
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not typed
        self.target_categories: list[str] | None = _sorted(target_categories)
        self.opportunity_uuids: list[str] | None = _sorted(opportunity_uuids)
        self.customer_uuid = customer_uuid
        self.owner = owner
        self.pipeline = pipeline
        self.pipeline_stage = pipeline_stage
        self.poll_interval = poll_interval
        self.chartmogul_conn_id = chartmogul_conn_id
        self.name = name
        try:
            self._check()
        except ValueError as error:
            raise _ArgumentError(str(error)) from None

    def _check(self) -> None:
        for parameter, value in {**self._identity(), "poll_interval": self.poll_interval}.items():
            if any(is_templated(item) for item in (value if isinstance(value, list) else [value])):
                raise ValueError(f"{parameter}: Airflow renders no templates in a watcher's trigger.")
        for parameter, value in {**self._filters(), "name": self.name}.items():
            if not isinstance(value, str | None):
                raise ValueError(f"{parameter}: expected text, not {truncated_repr(value)}.")
        if not isinstance(self.chartmogul_conn_id, str):
            raise ValueError(f"chartmogul_conn_id: expected text, not {truncated_repr(self.chartmogul_conn_id)}.")
        WaitCondition.parse_categories(self.target_categories, None)
        if self.opportunity_uuids is not None:
            if not isinstance(self.opportunity_uuids, list) or not self.opportunity_uuids:
                raise ValueError("opportunity_uuids: expected one or more; None watches all opportunities.")
            self.opportunity_uuids = sorted({check_opportunity_uuid(uuid) for uuid in self.opportunity_uuids})
        if not isinstance(self.poll_interval, int | float) or not 0 < self.poll_interval < math.inf:
            raise ValueError(f"poll_interval: expected seconds above 0, not {truncated_repr(self.poll_interval)}.")
        self.poll_interval = float(self.poll_interval)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes this trigger from."""
        return _classpath(self), {**self._identity(), "poll_interval": self.poll_interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch, and yield an event for each change."""
        # Imported here, since DAG files import this module too.
        from airflow_provider_chartmogul._polling.change_detector import Overview
        from airflow_provider_chartmogul._polling.snapshot_store import ForecastMemory

        condition = WaitCondition.parse_categories(self.target_categories, None)
        targets = None if condition.targets is None else frozenset(condition.targets)
        memory = ForecastMemory(getattr(self, "asset_state_store", None), self._identity())
        while not await self._has_worked(memory.load):
            await asyncio.sleep(_SECONDS_BETWEEN_LOADS)
        with Overview(
            memory,
            opportunity_uuids=self.opportunity_uuids,
            chartmogul_conn_id=self.chartmogul_conn_id,
            interval=self.poll_interval,
        ) as overview:
            unsent: deque[TriggerEvent] = deque()
            has_sent = False
            while True:
                events, has_round_ended = await self._next_events(overview, targets)
                unsent += events
                # What comes before the run for an earlier event is made, Airflow up to 3.3.2 leaves for the run of an
                # event after that. So a round's last one is held back, to come late and bring the others along.
                while len(unsent) > 1 or (unsent and not has_sent):
                    yield unsent.popleft()
                    has_sent = True
                if not has_round_ended:
                    continue
                if unsent:
                    await asyncio.sleep(_SECONDS_UNTIL_EVENTS_MAKE_A_RUN)
                    yield unsent.popleft()
                if has_sent:
                    await asyncio.sleep(_SECONDS_UNTIL_EVENTS_MAKE_A_RUN)
                    has_sent = False
                await self._has_worked(memory.save)

    async def _next_events(self, overview: Overview, targets: frozenset[str] | None) -> tuple[list[TriggerEvent], bool]:
        """Return the events for what changed, and whether a round ended with that."""
        try:
            changes, has_round_ended = await overview.changes()
        except Exception as error:
            if isinstance(error, ChartMogulError):
                level = logging.WARNING if error.transient else logging.ERROR
                self.log.log(level, "%s The watching goes on.", error)
            else:
                self.log.exception("Unexpected error; the watching goes on.")
            return [], False
        wanted = [change for change in changes if self._is_wanted(change[1], targets)]
        return [TriggerEvent(_event_payload(*change)) for change in wanted], has_round_ended

    def _identity(self) -> dict[str, Any]:
        """Return what distinguishes this trigger's memory from those of others."""
        return {
            "target_categories": self.target_categories,
            "opportunity_uuids": self.opportunity_uuids,
            **self._filters(),
            "chartmogul_conn_id": self.chartmogul_conn_id,
            "name": self.name,
        }

    def _filters(self) -> dict[str, str | None]:
        return {
            "customer_uuid": self.customer_uuid,
            "owner": self.owner,
            "pipeline": self.pipeline,
            "pipeline_stage": self.pipeline_stage,
        }

    def _is_wanted(self, opportunity: dict[str, Any], targets: frozenset[str] | None) -> bool:
        return (targets is None or opportunity.get("forecast_category") in targets) and all(
            value is None or opportunity.get(name) == value for name, value in self._filters().items()
        )

    async def _has_worked(self, use_store: Callable[[], Awaitable[None]]) -> bool:
        try:
            await use_store()
        except Exception as error:  # noqa: BLE001  # whatever Airflow's API server and state backend raise
            self.log.warning("Airflow's asset state store failed, which is tried again: %s", error)
            return False
        return True


def _event_payload(previous_category: str | None, opportunity: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "opportunity_uuid": opportunity["uuid"],
        "customer_uuid": opportunity.get("customer_uuid"),
        "previous_forecast_category": previous_category,
        "forecast_category": opportunity.get("forecast_category"),
        "updated_at": opportunity.get("updated_at"),
        "observed_at": datetime.now(UTC).isoformat(),
    }


def _classpath(trigger: BaseTrigger) -> str:
    return f"{type(trigger).__module__}.{type(trigger).__qualname__}"


def _sorted(values: Any) -> Any:
    """Return plain strings in an order that does not depend on the process, as the trigger's hash needs."""
    if isinstance(values, str):
        return [str(values)]
    if not isinstance(values, Iterable) or is_templated(values):
        return values
    return sorted(str(value) for value in values)

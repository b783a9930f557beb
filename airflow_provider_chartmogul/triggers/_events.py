"""Triggers that drive asset watchers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

try:
    from airflow.triggers.base import BaseEventTrigger
except ImportError:  # Airflow 2.11, which has no asset watchers
    BaseEventTrigger = BaseTrigger  # type: ignore[misc, assignment]

from airflow_provider_chartmogul._airflow.templates import is_templated
from airflow_provider_chartmogul.opportunity._values import (
    check_forecast_categories,
    check_opportunity_uuid,
    plain_text,
    truncated_repr,
)
from airflow_provider_chartmogul.opportunity._watch_condition import CHANGED, CREATED, EVENTS, WatchCondition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from airflow_provider_chartmogul._polling.change import Change
    from airflow_provider_chartmogul.opportunity import OpportunityFilters


class _ArgumentError(TypeError, ValueError):
    """An invalid argument. A TypeError, since any other error in a constructor ends all triggers of a triggerer."""


class _WatchEvent(TriggerEvent):
    """An event whose log line in Airflow has no personal data."""

    def __repr__(self) -> str:
        shown = {name: self.payload.get(name) for name in ("event", "opportunity_uuid", "updated_at")}
        return f"TriggerEvent<{shown!r}>"

    __str__ = __repr__


class OpportunityEventTrigger(BaseEventTrigger):
    """
    Emit an event for each opportunity that is created, changed or deleted, for an Airflow ``AssetWatcher``.

    The event's payload is::

        {"schema_version": 2, "event": "created" | "changed" | "deleted", "opportunity_uuid": …, "customer_uuid": …,
         "changes": {field: {"previous": …, "current": …}}, "updated_at": …, "observed_at": …}

    Opportunities that already exist at the start produce no events. A deletion is confirmed by a second request, and
    its event has neither ``customer_uuid`` nor ``updated_at``.

    Delivery is at least once: a triggerer that is killed within seconds of an event sends it again. On Airflow 3.3
    and later, changes made while no triggerer runs are found at the next start. Before 3.3 they are lost, since
    Airflow has nowhere to store the snapshot.

    Errors never end the watcher. They are only in the triggerer's log.

    Airflow renders no templates in a watcher's trigger, so templates are rejected.

    :param events: the events to emit: ``created``, ``changed``, ``deleted``
    :param fields: the fields whose changes are events, by their names in the opportunity's JSON, or
        ``custom.<name>``; None: any field, detected by ``updated_at``
    :param target_values: of the only field in ``fields``; emit an event only for an opportunity that comes to have one
        of these values, or that had one when it was deleted
    :param filters: emit events only for opportunities that match, by the names of
        :class:`~airflow_provider_chartmogul.opportunity.OpportunityFilters`
    :param opportunity_uuids: poll only these opportunities; None: all of the account
    :param poll_interval: seconds between two polls
    :param name: names the watcher in log lines and metrics, and identifies its stored snapshot, which survives changes
        of the other parameters; unique among the triggers of an asset
    :param chartmogul_conn_id: the Airflow connection to use
    :raises TypeError: if an argument is wrong, unknown or a template
    """

    def __init__(
        self,
        *,
        events: str | Iterable[str] = EVENTS,
        fields: str | Iterable[str] | None = None,
        target_values: Any = None,
        filters: OpportunityFilters | None = None,
        opportunity_uuids: str | Iterable[str] | None = None,
        poll_interval: float = 60.0,
        name: str | None = None,
        chartmogul_conn_id: str = "chartmogul_default",
    ) -> None:
        if BaseEventTrigger is BaseTrigger:
            raise _ArgumentError(f"{type(self).__name__} needs Airflow 3.0 or later, which has asset watchers.")
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not typed
        with _argument_errors():
            condition = {"events": events, "fields": fields, "target_values": target_values, "filters": filters}
            condition = {parameter: _materialized(value) for parameter, value in condition.items()}
            uuids = _materialized(opportunity_uuids)
            _refuse_templates(
                {**condition, "opportunity_uuids": uuids, "name": name, "chartmogul_conn_id": chartmogul_conn_id}
            )
            self._condition = WatchCondition.parse(*condition.values())
            self.opportunity_uuids = _check_uuids(uuids)
            self.poll_interval = _check_interval(poll_interval)
            self.name = None if name is None else _check_text(name, "name")
            self.chartmogul_conn_id = _check_text(chartmogul_conn_id, "chartmogul_conn_id")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and arguments of this trigger; equal settings are serialized equally."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            **self._condition_arguments(),
            "filters": dict(self._condition.filters) or None,
            "opportunity_uuids": self.opportunity_uuids,
            "poll_interval": self.poll_interval,
            "name": self.name,
            "chartmogul_conn_id": self.chartmogul_conn_id,
        }

    def _condition_arguments(self) -> dict[str, Any]:
        condition = self._condition
        return {
            "events": list(condition.events),
            "fields": None if condition.fields is None else list(condition.fields),
            "target_values": None if condition.targets is None else list(condition.targets),
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each change, until cancelled."""
        # Imported here, since DAG files import this module too.
        from airflow_provider_chartmogul._airflow.asset_events import EventSpacing
        from airflow_provider_chartmogul._airflow.asset_stores import stores_by_asset
        from airflow_provider_chartmogul._polling.change_detector import ChangeDetector
        from airflow_provider_chartmogul._polling.engine import subscribe
        from airflow_provider_chartmogul._polling.snapshot_store import SnapshotStore

        stores = stores_by_asset(getattr(self, "asset_state_store", None))
        detector = ChangeDetector(
            SnapshotStore(stores.values(), self._snapshot_key(), self._snapshot_shape()),
            self._condition,
            name=self.name or ", ".join(filter(None, stores)) or type(self).__name__,
            chartmogul_conn_id=self.chartmogul_conn_id,
            opportunity_uuids=self.opportunity_uuids,
        )
        await detector.load()
        spacing = EventSpacing(detector.changes)
        saving = asyncio.create_task(detector.keep_saved())
        try:
            with subscribe(detector, chartmogul_conn_id=self.chartmogul_conn_id, interval=self.poll_interval):
                while True:
                    change = await spacing.next_event()
                    yield _WatchEvent(
                        payload=payload_of(change, self._condition.changes(change.previous, change.current))
                    )
                    detector.acknowledge(change)
        finally:
            saving.cancel()

    def _snapshot_key(self) -> str:
        identity: Any = {"name": self.name}
        if self.name is None:
            classpath, arguments = self.serialize()
            identity = [classpath, {**arguments, "poll_interval": None}]
        return f"chartmogul.{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]}"

    def _snapshot_shape(self) -> dict[str, Any]:
        return {
            "chartmogul_conn_id": self.chartmogul_conn_id,
            "columns": list(self._condition.columns),
            "polls": "all" if self.opportunity_uuids is None else "chosen",
        }


class OpportunityForecastCategoryEventTrigger(OpportunityEventTrigger):
    """
    Emit an event for each change of an opportunity's forecast category, for an Airflow ``AssetWatcher``.

    An :class:`OpportunityEventTrigger` with the field ``forecast_category`` and the events ``created`` and
    ``changed``: a new opportunity counts as a change from null.

    :param target_categories: emit an event only when the category becomes this one, or one of these; None: on any
        change
    :param filters: as in :class:`OpportunityEventTrigger`, and so are the other parameters
    """

    def __init__(
        self,
        *,
        target_categories: str | Iterable[str] | None = None,
        filters: OpportunityFilters | None = None,
        opportunity_uuids: str | Iterable[str] | None = None,
        poll_interval: float = 60.0,
        name: str | None = None,
        chartmogul_conn_id: str = "chartmogul_default",
    ) -> None:
        with _argument_errors():
            categories = _check_categories(_materialized(target_categories))
        super().__init__(
            events=(CREATED, CHANGED),
            fields="forecast_category",
            target_values=categories,
            filters=filters,
            opportunity_uuids=opportunity_uuids,
            poll_interval=poll_interval,
            name=name,
            chartmogul_conn_id=chartmogul_conn_id,
        )

    def _condition_arguments(self) -> dict[str, Any]:
        return {"target_categories": super()._condition_arguments()["target_values"]}


def payload_of(change: Change, changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the payload of the event of a change."""
    return {
        "schema_version": 2,
        "event": change.event,
        "opportunity_uuid": change.opportunity_uuid,
        "customer_uuid": change.customer_uuid,
        "changes": changes,
        "updated_at": change.updated_at,
        "observed_at": change.observed_at,
    }


@contextmanager
def _argument_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise _ArgumentError(str(error)) from None


def _materialized(value: Any) -> Any:
    """Return an argument that can be iterated twice, unlike a generator."""
    if isinstance(value, str | Mapping) or is_templated(value) or not isinstance(value, Iterable):
        return value
    return list(value)


def _refuse_templates(arguments: Mapping[str, Any]) -> None:
    for parameter, value in arguments.items():
        items = value if isinstance(value, list) else value.values() if isinstance(value, Mapping) else [value]
        if any(map(is_templated, items)):
            raise ValueError(f"{parameter}: Airflow renders no templates in a watcher's trigger.")


def _check_categories(value: Any) -> list[str] | None:
    if value is None:
        return None
    _refuse_templates({"target_categories": value})
    categories = check_forecast_categories(value, "target_categories")
    if not categories:
        raise ValueError("target_categories: empty; name a category, or give None for any change.")
    return sorted(categories)


def _check_uuids(value: Any) -> list[str] | None:
    if value is None:
        return None
    uuids = [value] if isinstance(value, str) else value
    if not isinstance(uuids, list) or not uuids:
        raise ValueError("opportunity_uuids: expected one or more; None watches all opportunities.")
    return sorted({check_opportunity_uuid(uuid) for uuid in uuids})


def _check_interval(value: object) -> float:
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"poll_interval: expected seconds above 0, not {truncated_repr(value)}.")
    return float(value)


def _check_text(value: object, parameter: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{parameter}: expected text, not {truncated_repr(value)}.")
    return plain_text(value)

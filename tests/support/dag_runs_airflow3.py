"""Airflow 3's own task runner, with a stand-in for its supervisor."""

from __future__ import annotations

import importlib
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest import mock

import structlog
import structlog.testing
from airflow.sdk.api.datamodels import _generated as datamodels
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms, task_runner
from airflow.sdk.execution_time.xcom import XCom
from airflow.serialization.serialized_objects import BaseSerialization
from airflow.triggers.base import TaskSuccessEvent

from tests.support.airflow_versions import AIRFLOW_VERSION
from tests.support.dag_runs import AssetEvent, Outcome, event_of

if AIRFLOW_VERSION >= (3, 2):
    from airflow.sdk.serde import deserialize, serialize
else:
    serialize, deserialize = BaseSerialization.serialize, BaseSerialization.deserialize  # type: ignore[assignment]  # mypy sees the newest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import DAG
    from airflow.triggers.base import TriggerEvent


@dataclass
class _TaskInstance:
    """The API server's record of a task instance."""

    id: uuid.UUID = field(default_factory=uuid.uuid4)
    try_number: int = 1
    tries_before_clear: int = 0
    state: str | None = None
    first_start: datetime | None = None
    xcoms: dict[str, Any] = field(default_factory=dict)
    state_store: dict[str, Any] = field(default_factory=dict)
    deferral: Any = None


class _Supervisor:
    """Respond to a task as supervisor and API server do together."""

    def __init__(self, task_instances: dict[tuple[str, int], _TaskInstance]) -> None:
        self.task_instances = task_instances
        self.messages: list[Any] = []

    def send(self, msg: Any) -> Any:
        self.messages.append(msg)
        handler = getattr(self, f"_{type(msg).__name__}", None)
        return handler(msg) if handler else None

    async def asend(self, msg: Any) -> Any:
        return self.send(msg)

    def _xcoms(self, msg: Any) -> dict[str, Any]:
        map_index = -1 if msg.map_index is None else msg.map_index
        return self.task_instances.setdefault((msg.task_id, map_index), _TaskInstance()).xcoms

    def _SetXCom(self, msg: Any) -> None:  # noqa: N802  # named after the message
        self._xcoms(msg)[msg.key] = msg.value

    def _GetXCom(self, msg: Any) -> Any:  # noqa: N802
        return comms.XComResult(key=msg.key, value=self._xcoms(msg).get(msg.key))

    def _GetXComCount(self, msg: Any) -> Any:  # noqa: N802
        return comms.XComCountResponse(len=len(self._mapped_values(msg)))

    def _GetXComSequenceItem(self, msg: Any) -> Any:  # noqa: N802
        return comms.XComSequenceIndexResult(root=self._mapped_values(msg)[msg.offset])

    def _GetXComSequenceSlice(self, msg: Any) -> Any:  # noqa: N802
        return comms.XComSequenceSliceResult(root=self._mapped_values(msg)[msg.start : msg.stop : msg.step])

    def _mapped_values(self, msg: Any) -> list[Any]:
        mapped = sorted(key for key in self.task_instances if key[0] == msg.task_id and key[1] >= 0)
        return [self.task_instances[key].xcoms[msg.key] for key in mapped]

    def _DeleteXCom(self, msg: Any) -> None:  # noqa: N802
        self._xcoms(msg).pop(msg.key, None)

    def _GetConnection(self, msg: Any) -> Any:  # noqa: N802
        return comms.ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail={"conn_id": msg.conn_id})

    def _GetTaskRescheduleStartDate(self, msg: Any) -> Any:  # noqa: N802
        return comms.TaskRescheduleStartDate(start_date=self._by_id(msg.ti_id).first_start)

    def _GetTaskStateStore(self, msg: Any) -> Any:  # noqa: N802
        store = self._by_id(msg.ti_id).state_store
        if msg.key in store:
            return comms.TaskStateStoreResult(value=store[msg.key])
        return comms.ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND)

    def _SetTaskStateStore(self, msg: Any) -> None:  # noqa: N802
        self._by_id(msg.ti_id).state_store[msg.key] = msg.value

    def _by_id(self, ti_id: uuid.UUID) -> _TaskInstance:
        return next(ti for ti in self.task_instances.values() if ti.id == ti_id)


class Airflow3DagRun:
    def __init__(
        self, build: Callable[[], DAG], conf: dict[str, Any] | None, asset_events: tuple[AssetEvent, ...]
    ) -> None:
        self._build = build
        self._run_id = f"manual__{uuid.uuid4()}"
        self._conf = conf
        self._asset_events = asset_events
        self._run_after = self._start_date = datetime.now(UTC)
        self._clear_number = 0
        self._task_instances: dict[tuple[str, int], _TaskInstance] = {}

    def start(self, task_id: str, *, map_index: int = -1) -> Outcome:
        known = self._task_instances.setdefault((task_id, map_index), _TaskInstance())
        if known.state == "up_for_retry":
            # The API server assigns a new id to each try.
            known.id, known.first_start = uuid.uuid4(), None
            known.try_number += 1
        next_kwargs = None
        if known.deferral:
            event = _event_of(known.deferral)
            if isinstance(event, TaskSuccessEvent):
                known.state, known.deferral = "success", None
                known.xcoms.update(event.xcoms or {})
                return Outcome(state="success", error=None, xcoms=known.xcoms, link=None)
            next_kwargs = serialize({**_deserialized(known.deferral.next_kwargs), "event": event.payload})
        supervisor = _Supervisor(self._task_instances)
        log = structlog.wrap_logger(structlog.testing.CapturingLogger())
        with mock.patch.object(task_runner, "SUPERVISOR_COMMS", supervisor, create=True):
            ti = self._runtime_task_instance(self._build().get_task(task_id), map_index, known, next_kwargs)
            context = ti.get_template_context()
            state, _, error = task_runner.run(ti, context, log)
            task_runner.finalize(ti, state, context, log, error)
            xcoms = {
                key: XCom.deserialize_value(comms.XComResult(key=key, value=value))
                for key, value in known.xcoms.items()
            }
        known.state = state.value
        known.deferral = next((msg for msg in supervisor.messages if isinstance(msg, comms.DeferTask)), None)
        known.first_start = known.first_start or ti.start_date
        return Outcome(
            state=state.value,
            error=error,
            xcoms=xcoms,
            link=xcoms.get("_link_ChartMogulCustomerLink"),
            messages=supervisor.messages,
        )

    def lose_worker(self, task_id: str) -> None:
        self._task_instances[task_id, -1].state = "up_for_retry"

    def clear(self, task_id: str, *, keep_state: bool = True) -> None:
        self.backfill_again(task_id)
        self._clear_number += 1
        known = self._task_instances[task_id, -1]
        known.tries_before_clear = known.try_number
        if not keep_state:
            known.state_store.clear()

    def backfill_again(self, task_id: str) -> None:
        self._start_date = datetime.now(UTC)
        self._task_instances[task_id, -1].state = "up_for_retry"

    def _runtime_task_instance(self, task: Any, map_index: int, known: _TaskInstance, next_kwargs: Any) -> Any:
        max_tries = known.tries_before_clear + (task.retries or 0)
        now = datetime.now(UTC)
        dag_run = _made(
            datamodels.DagRun,
            dag_id=task.dag_id,
            run_id=self._run_id,
            logical_date=None,
            data_interval_start=None,
            data_interval_end=None,
            run_after=self._run_after,
            start_date=self._start_date,
            clear_number=self._clear_number,
            end_date=None,
            run_type=datamodels.DagRunType.MANUAL,
            state=datamodels.DagRunState.RUNNING,
            conf=self._conf,
            consumed_asset_events=[_asset_event(event, now) for event in self._asset_events],
            partition_key=None,
        )
        context = _made(
            datamodels.TIRunContext,
            dag_run=dag_run,
            max_tries=max_tries,
            should_retry=known.try_number <= max_tries,
            task_reschedule_count=int(known.state == "up_for_reschedule"),
            upstream_map_indexes={},
            xcom_keys_to_clear=[] if known.deferral else list(known.xcoms),
            next_method=known.deferral.next_method if known.deferral else None,
            next_kwargs=next_kwargs,
        )
        return task_runner.RuntimeTaskInstance.model_construct(
            id=known.id,
            task_id=task.task_id,
            dag_id=task.dag_id,
            run_id=self._run_id,
            try_number=known.try_number,
            map_index=map_index,
            dag_version_id=uuid.uuid4(),
            task=task,
            _ti_context_from_server=context,
            max_tries=max_tries,
            start_date=now,
            state=datamodels.TaskInstanceState.RUNNING,
        )


def _event_of(deferral: Any) -> TriggerEvent:
    """Run a trigger in place of the triggerer."""
    module, _, name = deferral.classpath.rpartition(".")
    return event_of(getattr(importlib.import_module(module), name)(**_deserialized(deferral.trigger_kwargs)))


def _deserialized(value: Any) -> Any:
    return deserialize(value) if any(key.startswith("__") for key in value) else value


def _asset_event(event: AssetEvent, now: datetime) -> Any:
    asset = datamodels.AssetReferenceAssetEventDagRun(name=event.asset, uri=event.asset, extra={})
    return _made(
        datamodels.AssetEventDagRunReference,
        asset=asset,
        extra=event.extra,
        source_task_id=None,
        source_dag_id=None,
        source_run_id=None,
        source_map_index=None,
        source_aliases=[],
        timestamp=now,
    )


def _made(model: Any, **fields: Any) -> Any:
    """Create a model from the fields that its version of Airflow has."""
    return model(**{name: value for name, value in fields.items() if name in model.model_fields})

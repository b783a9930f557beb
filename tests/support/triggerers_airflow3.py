"""Airflow 3's TriggerRunner, connected by a socket to a stand-in for its supervisor."""

from __future__ import annotations

import asyncio
import socket
import threading
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from airflow.executors.workloads import RunTrigger  # type: ignore[attr-defined]  # not said to be exported
from airflow.jobs import triggerer_job_runner
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms, task_runner
from airflow.triggers.base import TaskSuccessEvent
from pydantic import TypeAdapter

from tests.support.triggerers import Report
from tests.support.waits import eventually

if TYPE_CHECKING:
    import pytest
    from airflow.sdk import DAG
    from airflow.triggers.base import BaseTrigger

_messages = triggerer_job_runner.messages
_TaskInstance = get_args(RunTrigger.model_fields["ti"].annotation)[0]


class Airflow3Triggerer:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._started_from: dict[str, Any] = {}

    def start(self, task_id: str, dag: DAG, conf: dict[str, Any], connections: dict[str, dict[str, Any]]) -> Report:
        """Run the trigger from which a task starts, with the task data that the scheduler adds since Airflow 3.3."""
        from airflow.serialization.serialized_objects import DagSerialization

        serialized = DagSerialization.to_dict(dag)
        arguments: Any = DagSerialization.from_dict(serialized).get_task(task_id).start_trigger_args
        now = datetime.now(UTC)
        run = {
            "dag_id": dag.dag_id,
            "run_id": "run",
            "run_after": now,
            "start_date": now,
            "run_type": "manual",
            "state": "running",
            "conf": conf,
            "consumed_asset_events": [],
        }
        absent = dict.fromkeys(
            ("logical_date", "data_interval_start", "data_interval_end", "end_date", "partition_key")
        )
        self._started_from = {"dag_data": serialized, "dag_run_data": {**absent, **run}}
        return self._run([(arguments.trigger_cls, arguments.trigger_kwargs)], connections)

    def run(self, *triggers: BaseTrigger, connections: dict[str, dict[str, Any]]) -> Report:
        return self._run([trigger.serialize() for trigger in triggers], connections)

    def _run(self, triggers: list[tuple[str, dict[str, Any]]], connections: dict[str, dict[str, Any]]) -> Report:
        for conn_id in connections:
            self._monkeypatch.delenv(f"AIRFLOW_CONN_{conn_id.upper()}", raising=False)
        supervisor = _Supervisor(
            [self._workload(number, *trigger) for number, trigger in enumerate(triggers, start=1)], connections
        )
        # The runner takes file descriptor 0 for its socket.
        for module in (triggerer_job_runner, comms):
            self._monkeypatch.setattr(module, "socket", lambda **_: supervisor.runners_end)
        self._monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", None, raising=False)
        with supervisor:
            asyncio.run(self._until_all_have_reported(supervisor.report, len(triggers)))
        return supervisor.report

    async def _until_all_have_reported(self, report: Report, count: int) -> None:
        runner = triggerer_job_runner.TriggerRunner()
        running = asyncio.create_task(runner.arun())
        await eventually(lambda: running.done() or (len(report) == count and not runner.triggers))
        runner.stop = True
        await running
        # Airflow leaves it to the end of the process.
        runner.comms_decoder._async_writer.close()

    def _workload(self, number: int, classpath: str, kwargs: dict[str, Any]) -> Any:
        ti = {
            "id": uuid.uuid4(),
            "dag_version_id": uuid.uuid4(),
            "task_id": "wait",
            "dag_id": "dag",
            "run_id": "run",
            "try_number": 1,
            "map_index": number,
            "pool_slots": 1,
            "queue": "default",
            "priority_weight": 1,
        }
        return RunTrigger(
            id=number,
            ti=_TaskInstance(**{name: value for name, value in ti.items() if name in _TaskInstance.model_fields}),
            classpath=classpath,
            encrypted_kwargs=Trigger.encrypt_kwargs(kwargs),
            **{"type": "RunTrigger", **self._started_from},
        )


class _Supervisor:
    """Send triggers and connections, and receive reports, in a thread instead of a process."""

    def __init__(self, to_create: list[Any], connections: dict[str, dict[str, Any]]) -> None:
        self.report = Report()
        self._to_create = to_create
        self._connections = connections
        self._own_end, self.runners_end = socket.socketpair()
        self._requests = TypeAdapter(triggerer_job_runner.ToTriggerSupervisor)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> None:
        self._send(0, _messages.StartTriggerer(type="StartTriggerer"))
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._own_end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._own_end.close()
        self.runners_end.close()

    def _serve(self) -> None:
        with self._own_end.makefile("rb") as stream:
            while size := stream.read(4):
                frame = msgspec.msgpack.decode(stream.read(int.from_bytes(size, "big")), type=comms._RequestFrame)
                self._send(frame.id, self._respond(self._requests.validate_python(frame.body)))

    def _send(self, number: int, message: Any) -> None:
        body = None if message is None else message.model_dump(by_alias=True, exclude_unset=True)
        self._own_end.sendall(comms._ResponseFrame(id=number, body=body, error=None).as_bytes())

    def _respond(self, message: Any) -> Any:
        if isinstance(message, _messages.TriggerStateChanges):
            return self._synchronize(message)
        if isinstance(message, comms.GetConnection):
            if message.conn_id in self._connections:
                unset = dict.fromkeys(("host", "schema", "login", "password", "port", "extra"))
                connection = {**unset, **self._connections[message.conn_id]}
                return comms.ConnectionResult(conn_id=message.conn_id, **connection, type="ConnectionResult")
            not_found = ErrorType.CONNECTION_NOT_FOUND
            return comms.ErrorResponse(error=not_found, detail={"conn_id": message.conn_id}, type="ErrorResponse")
        if isinstance(message, comms.SetXCom):
            assert message.key == XCOM_RETURN_KEY
            assert message.map_index is not None
            self.report.results[message.map_index] = message.value
        return None

    def _synchronize(self, changes: Any) -> Any:
        for number, event, *_ in changes.events or ():
            self.report.events.setdefault(number, []).append(event)
            if isinstance(event, TaskSuccessEvent) and event.xcoms:
                self.report.results[number] = XComModel.serialize_value(event.xcoms[XCOM_RETURN_KEY])
        for number, traceback in changes.failures or ():
            self.report.failures[number] = "".join(traceback or ())
        to_create, self._to_create = self._to_create, []
        return _messages.TriggerStateSync(to_create=to_create, to_cancel=set(), type="TriggerStateSync")

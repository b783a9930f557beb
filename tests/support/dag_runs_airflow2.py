# mypy: ignore-errors
# Uses names of Airflow 2, while mypy checks against the newest Airflow.
"""Airflow 2's own task instances, in a separate test database."""

from __future__ import annotations

import functools
import importlib
import uuid
from typing import TYPE_CHECKING, Any

from airflow.models.dag import DagModel
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.trigger import Trigger
from airflow.models.xcom import XCom
from airflow.triggers.base import TaskSuccessEvent
from airflow.utils import timezone
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunType

from tests.support.dag_runs import Outcome, event_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow import DAG
    from sqlalchemy.orm import Session


@functools.cache
def _create_database() -> None:
    initdb(load_connections=False)


class Airflow2DagRun:
    def __init__(self, build: Callable[[], DAG], conf: dict[str, Any] | None) -> None:
        _create_database()
        now = timezone.utcnow()
        self._build = build
        dag = build()
        with create_session() as session:
            session.merge(DagModel(dag_id=dag.dag_id, fileloc=dag.fileloc))
        self._run = dag.create_dagrun(
            run_id=f"manual__{uuid.uuid4()}",
            execution_date=now,
            data_interval=(now, now),
            state=DagRunState.RUNNING,
            run_type=DagRunType.MANUAL,
            conf=conf,
        )

    def start(self, task_id: str, *, map_index: int = -1) -> Outcome:
        error: BaseException | None = None
        with create_session() as session:
            task = self._build().get_task(task_id)
            ti = self._run.get_task_instance(task_id, map_index=map_index, session=session)
            if ti is None:
                ti = TaskInstance(task, run_id=self._run.run_id, map_index=map_index)
                session.add(ti)
                session.flush()
            ti.refresh_from_task(task)
            if ti.trigger_id is not None:
                row = session.get(Trigger, ti.trigger_id)
                module, _, name = row.classpath.rpartition(".")
                event = event_of(getattr(importlib.import_module(module), name)(**row.kwargs))
                Trigger.submit_event(ti.trigger_id, event, session=session)
                session.flush()
                if isinstance(event, TaskSuccessEvent):
                    return self._outcome(ti, error, session)
            if ti.state != TaskInstanceState.UP_FOR_RESCHEDULE:
                ti.try_number += 1  # the scheduler's part
                session.flush()
            try:
                ti.run(ignore_all_deps=True, ignore_ti_state=True, session=session)
            except Exception as raised:  # noqa: BLE001  # a task may fail with anything
                error = raised
            return self._outcome(ti, error, session)

    def _outcome(self, ti: TaskInstance, error: BaseException | None, session: Session) -> Outcome:
        session.commit()
        ti.refresh_from_db(session=session)
        link = next((link.get_link(ti.task, ti_key=ti.key) for link in ti.task.operator_extra_links), None)
        xcoms = XCom.get_many(run_id=ti.run_id, task_ids=ti.task_id, map_indexes=ti.map_index, session=session)
        return Outcome(state=str(ti.state), error=error, xcoms={xcom.key: xcom.value for xcom in xcoms}, link=link)

    def lose_worker(self, task_id: str) -> None:
        with create_session() as session:
            ti = self._run.get_task_instance(task_id, session=session)
            ti.set_state(TaskInstanceState.UP_FOR_RETRY, session=session)

    def clear(self, task_id: str, *, keep_state: bool = True) -> None:
        with create_session() as session:
            self._run = session.merge(self._run)
            self._run.set_state(DagRunState.FAILED)
            session.flush()
            ti = self._run.get_task_instance(task_id, session=session)
            clear_task_instances([ti], session, dag=self._build())
            self._run.start_date = timezone.utcnow()  # the scheduler's part

    def backfill_again(self, task_id: str) -> None:
        with create_session() as session:
            self._run = session.merge(self._run)
            self._run.start_date = timezone.utcnow()
            self._run.run_type = DagRunType.BACKFILL_JOB
            self._run.set_state(DagRunState.RUNNING)
            ti = self._run.get_task_instance(task_id, session=session)
            ti.set_state(TaskInstanceState.SCHEDULED, session=session)

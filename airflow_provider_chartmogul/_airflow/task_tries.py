"""The identity of a task instance, and its earlier tries."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import datetime

    from airflow.providers.common.compat.sdk import Context


class EarlierTries(NamedTuple):
    """
    When the earlier tries of a task may have run.

    :param not_before: no earlier try started before this; stays the same when the run is cleared
    :param run_started: when the DAG run started; a run that is cleared, or run again by a backfill, starts later than
        its earlier tries
    """

    not_before: datetime.datetime
    run_started: datetime.datetime


def task_instance_key(context: Context) -> str:
    """Return a UUID derived from DAG, run, task and map index, which survive retries and clearing."""
    ti = context["ti"]
    map_index = -1 if ti.map_index is None else ti.map_index
    return str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([ti.dag_id, ti.run_id, ti.task_id, map_index])))


def earlier_tries(context: Context) -> EarlierTries | None:
    """Return when earlier tries of the task, retried or cleared, may have run; None: this is the first try."""
    ti = context.get("ti")
    if ti is None or ti.try_number <= 1:
        return None
    dag_run = context["dag_run"]
    # Airflow 2 has no run_after, and a manual run of Airflow 3 may have no logical date.
    names = ("run_after", "logical_date", "start_date")
    moments = [moment for name in names if (moment := getattr(dag_run, name, None))]
    return EarlierTries(min(moments), dag_run.start_date or max(moments))


def is_retry(context: Context) -> bool:
    """Return whether Airflow retries the task, rather than running it for the first time or after it was cleared."""
    ti = context.get("ti")
    # Clearing a task raises its max_tries to the number of tries so far plus its retries.
    return ti is not None and ti.try_number > ti.max_tries - (ti.task.retries or 0) + 1

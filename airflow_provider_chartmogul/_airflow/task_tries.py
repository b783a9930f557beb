"""What Airflow can tell a task of its earlier tries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime

    from airflow.providers.common.compat.sdk import Context


def was_tried_before(context: Context) -> bool:
    """Tell whether the task was started before in the same DAG run, be it that it is retried or was cleared."""
    ti = context.get("ti")
    return ti is not None and ti.try_number > 1


def earlier_tries_began(context: Context) -> datetime.datetime | None:
    """
    Return a moment that no earlier try of the task began before; None: there was no earlier try.

    Before 3.3 Airflow tells a task when its DAG run began, but not when the first of its own tries did.
    """
    if not was_tried_before(context):
        return None
    dag_run = context["dag_run"]
    if not dag_run.clear_number:
        return dag_run.start_date
    # A run that is cleared after its end begins anew. When it was due stays; Airflow 2 has no run_after.
    due = getattr(dag_run, "run_after", None) or dag_run.data_interval_end
    return min(moment for moment in (due, dag_run.start_date) if moment)

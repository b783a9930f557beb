"""Imports of a task's process before it loads the DAG file: the task runner, and names that every DAG file imports."""

from __future__ import annotations

import airflow.sdk.execution_time.supervisor
import airflow.sdk.execution_time.task_runner
import airflow.triggers.base
from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, task
from airflow.sdk.listener import get_listener_manager

__all__ = ["DAG", "BaseHook", "BaseOperator", "BaseSensorOperator", "airflow", "task"]

get_listener_manager()  # loads plugins, as a task's process does before it runs the task

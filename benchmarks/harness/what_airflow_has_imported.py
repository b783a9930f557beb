"""What a process of Airflow has imported before it comes to a DAG file: what such a file needs anyway."""

from __future__ import annotations

import airflow.triggers.base  # the DAG processor has it
from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, task

__all__ = ["DAG", "BaseHook", "BaseOperator", "BaseSensorOperator", "airflow", "task"]

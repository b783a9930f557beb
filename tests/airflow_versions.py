"""Which Airflow the tests run on."""

from __future__ import annotations

from airflow import __version__
from packaging.version import Version

AIRFLOW_VERSION = Version(__version__).release[:2]
IS_AIRFLOW_3 = AIRFLOW_VERSION >= (3, 0)
HAS_TASK_STATE_STORE = AIRFLOW_VERSION >= (3, 3)

"""The version of the installed Airflow."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from packaging.version import Version

AIRFLOW_VERSION = Version(version("apache-airflow")).release[:2]
IS_AIRFLOW_3 = AIRFLOW_VERSION >= (3, 0)
HAS_TASK_STATE_STORE = AIRFLOW_VERSION >= (3, 3)

needs_watchers = pytest.mark.skipif(not IS_AIRFLOW_3, reason="Airflow 2 has no asset watchers")

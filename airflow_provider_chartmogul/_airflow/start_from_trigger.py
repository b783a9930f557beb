"""Tasks that start in the triggerer, without a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version
from packaging.version import Version

from airflow_provider_chartmogul._airflow.templates import is_templated

if TYPE_CHECKING:
    from collections.abc import Iterable

IS_AIRFLOW_3_3 = Version(airflow_version).release >= (3, 3)


def obstacle_to_start_from_trigger(trigger_kwargs: Iterable[Any]) -> str | None:
    """
    Return the reason why a task cannot start in the triggerer; None: it can.

    :param trigger_kwargs: the values of the trigger's arguments, before templates are rendered
    """
    if not IS_AIRFLOW_3_3:
        # 2.11 and 3.0 render no templates there, 3.1 and 3.2 start no task there: apache/airflow#55068.
        return "needs Airflow 3.3 or later"
    for value in trigger_kwargs:
        for item in value if isinstance(value, list) else [value]:
            if is_templated(item) and (not isinstance(item, str) or "xcom_pull" in item):
                return "does not work with results of other tasks, which Airflow does not give to the triggerer"
    return None

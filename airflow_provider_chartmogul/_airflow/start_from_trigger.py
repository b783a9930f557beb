"""Tasks that start in the triggerer, without a worker."""

from __future__ import annotations

import datetime
import warnings
from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version
from airflow.triggers.base import StartTriggerArgs
from packaging.version import Version

from airflow_provider_chartmogul._airflow.templates import is_templated

if TYPE_CHECKING:
    from collections.abc import Iterable

IS_AIRFLOW_3_3 = Version(airflow_version).release >= (3, 3)
_STACKLEVEL = 5  # the call in the DAG file; Airflow adds its own wrappers of constructors


def start_trigger_args(trigger_class: type, trigger_kwargs: dict[str, Any], timeout: float) -> StartTriggerArgs | None:
    """
    Return what a task needs to start in the triggerer; None, with a warning, if it cannot start there.

    :param trigger_class: the trigger, whose event goes to ``execute_complete``
    :param trigger_kwargs: its arguments, before templates are rendered
    :param timeout: of the trigger, in seconds
    """
    if obstacle := _obstacle(trigger_kwargs.values()):
        warnings.warn(f"start_from_trigger {obstacle}, and is ignored.", UserWarning, stacklevel=_STACKLEVEL)
        return None
    return StartTriggerArgs(
        trigger_cls=f"{trigger_class.__module__}.{trigger_class.__qualname__}",
        next_method="execute_complete",
        trigger_kwargs=trigger_kwargs,
        next_kwargs=None,
        timeout=datetime.timedelta(seconds=timeout),
    )


def _obstacle(trigger_kwargs: Iterable[Any]) -> str | None:
    if not IS_AIRFLOW_3_3:
        # 2.11 and 3.0 render no templates there, 3.1 and 3.2 start no task there: apache/airflow#55068.
        return "needs Airflow 3.3 or later"
    for value in trigger_kwargs:
        for item in value if isinstance(value, list) else [value]:
            if is_templated(item) and (not isinstance(item, str) or "xcom_pull" in item):
                return "does not work with results of other tasks, which Airflow does not give to the triggerer"
    return None

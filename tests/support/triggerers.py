"""Run triggers in this process by the triggerer's own runner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tests.support.airflow_versions import IS_AIRFLOW_3

if TYPE_CHECKING:
    import pytest
    from airflow.triggers.base import BaseTrigger, TriggerEvent


@dataclass
class Report:
    """
    The runner's report about its triggers, by their number.

    :param events: the yielded events, as received by the process that writes them to the database
    :param failures: the raised errors, as text
    :param results: the XCom results of tasks that ended in the triggerer
    """

    events: dict[int, list[TriggerEvent]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    results: dict[int, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.events.keys() | self.failures.keys())


class Triggerer(Protocol):
    """A triggerer's runner, with a stand-in for its supervisor and the database."""

    def run(self, *triggers: BaseTrigger, connections: dict[str, dict[str, Any]]) -> Report:
        """
        Run triggers until each has reported an event or a failure.

        :param connections: the existing Airflow connections, as the fields of their JSON form
        """


def triggerer(monkeypatch: pytest.MonkeyPatch) -> Triggerer:
    """Return the triggerer of the installed Airflow."""
    if IS_AIRFLOW_3:
        from tests.support.triggerers_airflow3 import Airflow3Triggerer

        return Airflow3Triggerer(monkeypatch)
    from tests.support.triggerers_airflow2 import Airflow2Triggerer

    return Airflow2Triggerer(monkeypatch)

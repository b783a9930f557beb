"""Run triggers as Airflow's triggerer does, by its own runner, in this process."""

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
    What the runner reported of its triggers, by their number.

    :param events: what they yielded, as it arrives in the process that writes it to the database
    :param failures: what they raised, as text
    :param results: what a downstream task pulls of a task that ended in the triggerer
    """

    events: dict[int, list[TriggerEvent]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    results: dict[int, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.events.keys() | self.failures.keys())


class Triggerer(Protocol):
    """A triggerer's runner, with a stand-in for what is behind it."""

    def run(self, *triggers: BaseTrigger, connections: dict[str, dict[str, Any]]) -> Report:
        """
        Run triggers until each has reported an event or a failure.

        :param connections: the Airflow connections there are, in the fields of their JSON form
        """


def triggerer(monkeypatch: pytest.MonkeyPatch) -> Triggerer:
    """Return the triggerer of the installed Airflow."""
    if IS_AIRFLOW_3:
        from tests.support.triggerers_airflow3 import Airflow3Triggerer

        return Airflow3Triggerer(monkeypatch)
    from tests.support.triggerers_airflow2 import Airflow2Triggerer

    return Airflow2Triggerer(monkeypatch)

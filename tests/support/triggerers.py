"""Run triggers in this process by the triggerer's own runner."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tests.support.airflow_versions import IS_AIRFLOW_3

if TYPE_CHECKING:
    from types import ModuleType

    import pytest
    from airflow.triggers.base import BaseTrigger, TriggerEvent

_PAUSE = 0.02


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


class _Hurried:
    """A module for pauses in which a second passes sooner: the runner's pause between two rounds."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(_PAUSE if seconds == 1 else seconds)

    def move_on_after(self, seconds: float) -> Any:
        return self._module.move_on_after(_PAUSE if seconds == 1 else seconds)


def hurry_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the second that the runner pauses after each round."""
    from airflow.jobs import triggerer_job_runner

    for name in ("asyncio", "anyio"):  # which of them it pauses with depends on its version
        if module := getattr(triggerer_job_runner, name, None):
            monkeypatch.setattr(triggerer_job_runner, name, _Hurried(module))


def triggerer(monkeypatch: pytest.MonkeyPatch) -> Triggerer:
    """Return the triggerer of the installed Airflow."""
    hurry_runner(monkeypatch)
    if IS_AIRFLOW_3:
        from tests.support.triggerers_airflow3 import Airflow3Triggerer

        return Airflow3Triggerer(monkeypatch)
    from tests.support.triggerers_airflow2 import Airflow2Triggerer

    return Airflow2Triggerer(monkeypatch)

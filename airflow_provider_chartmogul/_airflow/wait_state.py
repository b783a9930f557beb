"""The state of a wait that has to survive a restart of its task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Sequence

_KEY = "opportunities_{}"
_PER_VALUE = 300  # opportunities; Airflow warns of values above 64 KB


class WaitState:
    """
    The baselines and results of a wait, kept in Airflow's task state store if available.

    :param store: ``task_state_store`` of the task's context (Airflow 3.3 and later)
    :param opportunity_uuids: the opportunities of the wait
    :param retention: how long Airflow keeps the saved state
    """

    def __init__(self, store: Any, opportunity_uuids: Sequence[str], retention: datetime.timedelta) -> None:
        self.baselines: dict[str, Any] = {}
        """The value of the awaited field when the wait began, by UUID."""
        self.met: dict[str, Any] = {}
        """The value that met the condition, by UUID."""
        self._store = store
        self.opportunity_uuids = opportunity_uuids
        self._retention = retention
        self._saved: dict[str, Any] = {}
        if store is not None:
            self._load()

    def save(self) -> None:
        """Save the state unless it is unchanged or there is no store."""
        if self._store is None:
            return
        for key, uuids in self._parts():
            value = {
                "baselines": {uuid: self.baselines[uuid] for uuid in uuids if uuid in self.baselines},
                "met": {uuid: self.met[uuid] for uuid in uuids if uuid in self.met},
            }
            if any(value.values()) and value != self._saved.get(key):
                self._store.set(key, value, retention=self._retention)
                self._saved[key] = value

    def _load(self) -> None:
        wanted = set(self.opportunity_uuids)
        for key, _ in self._parts():
            value = self._store.get(key)
            if value is not None:
                self._saved[key] = value
                # A template may render to other opportunities than at the last poll.
                self.baselines |= {uuid: value["baselines"][uuid] for uuid in wanted & value["baselines"].keys()}
                self.met |= {uuid: value["met"][uuid] for uuid in wanted & value["met"].keys()}

    def _parts(self) -> Iterator[tuple[str, Sequence[str]]]:
        for number, start in enumerate(range(0, len(self.opportunity_uuids), _PER_VALUE)):
            yield _KEY.format(number), self.opportunity_uuids[start : start + _PER_VALUE]

"""The state of a wait between two starts of its task."""

from __future__ import annotations

import datetime
import json
from typing import Any

from airflow_provider_chartmogul._airflow.wait_state import WaitState

UUID = "00000000-0000-0000-0000-000000000000"


class Store:
    """A task state store."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.retentions: set[datetime.timedelta | None] = set()
        self.written: list[str] = []

    def get(self, key: str) -> Any:
        return json.loads(self.values[key]) if key in self.values else None

    def set(self, key: str, value: Any, *, retention: datetime.timedelta | None = None) -> None:
        self.values[key] = json.dumps(value)
        self.retentions.add(retention)
        self.written.append(key)


def test_the_state_of_many_is_kept_in_values_that_airflow_takes_without_a_warning() -> None:
    many = [f"{number:08}-0000-0000-0000-000000000000" for number in range(1000)]
    store, a_day = Store(), datetime.timedelta(days=1)
    state = WaitState(store, many, a_day)
    state.baselines = dict.fromkeys(many, "A pipeline stage with a long name, as some are")
    state.met = dict.fromkeys(many[:600], "A pipeline stage with a long name, as some are")
    state.save()
    assert max(map(len, store.values.values())) < 65_535
    assert store.retentions == {a_day}
    again = WaitState(store, many, a_day)
    assert (again.baselines, again.met) == (state.baselines, state.met)
    written = len(store.written)
    again.save()
    assert len(store.written) == written
    again.met[many[-1]] = "x"
    again.save()
    assert len(store.written) == written + 1


def test_without_a_store_the_state_lasts_as_long_as_the_process() -> None:
    state = WaitState(None, [UUID], datetime.timedelta(0))
    state.met[UUID] = 1
    state.save()
    assert WaitState(None, [UUID], datetime.timedelta(0)).met == {}

"""The data of one ChartMogul account: its opportunities, newest first."""

from __future__ import annotations

import heapq
import itertools
import json
import threading
import time
from bisect import bisect_left, insort
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from airflow_provider_chartmogul.opportunity import ForecastCategory, OpportunityType
from airflow_provider_chartmogul.sandbox import timestamps
from airflow_provider_chartmogul.sandbox.generate import EXAMPLE_CUSTOMER_UUID, EXAMPLE_OWNER, generate
from airflow_provider_chartmogul.sandbox.stages import (
    PIPELINES,
    STAGE_OF_CATEGORY,
    STAGES,
    stage_named,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Fields: TypeAlias = dict[str, Any]
"""An opportunity in the shape and key order of the API's responses."""

_THIRTY_DAYS = 30 * 24 * 3600 * 1_000_000


class Position(NamedTuple):
    """Where an opportunity stands in the list; the greatest comes first."""

    created: int
    uuid: str


class Page(NamedTuple):
    """A page of the list: JSON objects, the position of the last one, and whether others follow."""

    entries: list[bytes]
    last: Position | None
    has_more: bool


@dataclass(slots=True, eq=False)
class _Record:
    position: Position
    fields: Fields
    _json: bytes | None = None

    def json(self) -> bytes:
        # Kept, because polling asks for the same unchanged opportunity over and over.
        if self._json is None:
            text = json.dumps(self.fields, ensure_ascii=False, separators=(",", ":"))
            self._json = text.encode(errors="replace")
        return self._json

    def copy(self) -> Fields:
        return cast("Fields", json.loads(self.json()))

    def become(self, other: _Record) -> _Record:
        self.fields, self._json = other.fields, other._json
        return self


def _position(record: _Record) -> Position:
    return record.position


@dataclass(order=True, slots=True)
class _Step:
    due: float
    number: int
    uuid: str = field(compare=False)
    category: ForecastCategory = field(compare=False)


class Account:
    """
    Opportunities, kept sorted so that a page costs a binary search and not a pass over all of them.

    Every method may be called from any thread.

    :param opportunities: how many to generate
    :param seed: what they are like
    """

    def __init__(self, *, opportunities: int, seed: int) -> None:
        self._lock = threading.Lock()
        self._random = Random(f"{seed} created later")
        self._latest_creation = 0
        self._steps: list[_Step] = []
        self._step_numbers = itertools.count()
        self._pipelines = {name: set(STAGES) for name in PIPELINES}
        self._sorted = [
            _Record(Position(created, fields["uuid"]), fields) for created, fields in generate(seed, opportunities)
        ]
        self._sorted.reverse()
        self._by_uuid = {record.fields["uuid"]: record for record in self._sorted}

    def knows_pipeline(self, name: str) -> bool:
        """Tell whether the account has this pipeline."""
        with self._up_to_date():
            return name in self._pipelines

    def knows_stage(self, pipeline: str, name: str) -> bool:
        """Tell whether the pipeline has this stage."""
        with self._up_to_date():
            return name in self._pipelines.get(pipeline, ())

    def all(self) -> list[Fields]:
        """Return copies of all opportunities, newest first."""
        with self._up_to_date():
            return [record.copy() for record in reversed(self._sorted)]

    def get(self, uuid: str) -> Fields:
        """
        Return a copy of an opportunity.

        :raises KeyError: if there is none
        """
        with self._up_to_date():
            return self._by_uuid[uuid].copy()

    def get_json(self, uuid: str) -> bytes:
        """
        Return the JSON of an opportunity.

        :raises KeyError: if there is none
        """
        with self._up_to_date():
            return self._by_uuid[uuid].json()

    def page(self, size: int, after: Position | None, wanted: Callable[[Fields], bool] | None) -> Page:
        """
        Return a page of the list.

        :param size: how many opportunities at most
        :param after: the position of the one that the page before ended with; None for the first page
        :param wanted: which opportunities to list; None for all
        """
        with self._up_to_date():
            stop = len(self._sorted) if after is None else bisect_left(self._sorted, after, key=_position)
            older: Iterable[_Record] = (self._sorted[index] for index in range(stop - 1, -1, -1))
            if wanted is not None:
                older = (record for record in older if wanted(record.fields))
            found = list(itertools.islice(older, size + 1))
            entries = found[:size]
            last = entries[-1].position if entries else None
            return Page([record.json() for record in entries], last, len(found) > size)

    def add(self, given: Fields) -> Fields:
        """
        Store an opportunity as it is given, defaults in the place of what is left out.

        :raises ValueError: if its ``uuid`` is taken
        :raises TypeError: if it is no JSON
        :return: a copy
        """
        with self._up_to_date():
            created = timestamps.parse(given.get("created_at"))
            if created is None:
                created = self._next_creation()
            fields = {**self._defaults(created, given), **given}
            if fields["uuid"] in self._by_uuid:
                raise ValueError(f"There is an opportunity {fields['uuid']} already.")
            record = self._new_record(created, fields)
            self._insert(record)
            return record.copy()

    def change(self, uuid: str, changes: Fields) -> Fields:
        """
        Overwrite fields of an opportunity with what is given.

        :raises KeyError: if there is none
        :raises TypeError: if a value is no JSON
        :return: a copy
        """
        with self._up_to_date():
            return self._change(uuid, changes, timestamps.now()).copy()

    def remove(self, uuid: str) -> None:
        """
        Delete an opportunity.

        :raises KeyError: if there is none
        """
        with self._up_to_date():
            self._remove(self._by_uuid[uuid])

    def schedule(self, uuid: str, categories: Iterable[ForecastCategory], every: float) -> None:
        """
        Move an opportunity from category to category.

        :param every: seconds before each step
        :raises KeyError: if there is no such opportunity
        """
        with self._up_to_date():
            if uuid not in self._by_uuid:
                raise KeyError(uuid)
            due = time.monotonic()
            for category in categories:
                due += every
                heapq.heappush(self._steps, _Step(due, next(self._step_numbers), uuid, category))

    @contextmanager
    def _up_to_date(self) -> Iterator[None]:
        # Steps that are due are taken when somebody looks: no timer, no thread, and no one can tell.
        with self._lock:
            while self._steps and self._steps[0].due <= (at := time.monotonic()):
                step = heapq.heappop(self._steps)
                if step.uuid in self._by_uuid:
                    late = int((at - step.due) * 1_000_000)
                    self._change(step.uuid, as_if_moved_to(step.category), timestamps.now() - late)
            yield

    def _change(self, uuid: str, changes: Fields, at: int) -> _Record:
        old = self._by_uuid[uuid]
        fields = {**old.fields, **changes}
        if "updated_at" not in changes:
            # Two changes within a millisecond are two changes to whoever compares this field.
            before = timestamps.parse(old.fields.get("updated_at"))
            fields["updated_at"] = timestamps.to_json(at if before is None else max(at, before + 1000))
        created = timestamps.parse(changes.get("created_at")) or old.position.created
        new = self._new_record(created, fields)
        if new.position == old.position:
            return old.become(new)
        self._remove(old)
        self._insert(new)
        return new

    def _new_record(self, created: int, fields: Fields) -> _Record:
        record = _Record(Position(created, str(fields["uuid"])), fields)
        record.json()
        pipeline, stage = fields["pipeline"], fields["pipeline_stage"]
        if isinstance(pipeline, str) and isinstance(stage, str):
            self._pipelines.setdefault(pipeline, set(STAGES)).add(stage)
        return record

    def _insert(self, record: _Record) -> None:
        insort(self._sorted, record, key=_position)
        self._by_uuid[record.fields["uuid"]] = record

    def _remove(self, record: _Record) -> None:
        del self._by_uuid[record.fields["uuid"]]
        del self._sorted[bisect_left(self._sorted, record.position, key=_position)]

    def _next_creation(self) -> int:
        # Strictly ascending, so that what was created later is listed earlier also within a microsecond.
        self._latest_creation = max(timestamps.now(), self._latest_creation + 1)
        return self._latest_creation

    def _defaults(self, created: int, given: Fields) -> Fields:
        stage_name = given.get("pipeline_stage")
        if stage_name is None:
            stage_name = STAGE_OF_CATEGORY.get(str(given.get("forecast_category")), "Discovery")
        stage = stage_named(stage_name)
        return {
            "uuid": timestamps.time_based_uuid(created, self._random),
            "customer_uuid": EXAMPLE_CUSTOMER_UUID,
            "owner": EXAMPLE_OWNER,
            "pipeline": PIPELINES[0],
            "pipeline_stage": stage_name,
            "estimated_close_date": timestamps.to_json(created + _THIRTY_DAYS)[:10],
            "currency": "USD",
            "amount_in_cents": 10000,
            "type": OpportunityType.RECURRING.value,
            "forecast_category": stage.forecast_category.value,
            "win_likelihood": stage.win_likelihood,
            "custom": {},
            "created_at": timestamps.to_json(created),
            "updated_at": given.get("created_at") or timestamps.to_json(created),
        }


def as_if_moved_to(category: ForecastCategory) -> Fields:
    """Return the fields that change when a deal is moved to the stage of this category."""
    stage_name = STAGE_OF_CATEGORY[category]
    return {
        "pipeline_stage": stage_name,
        "forecast_category": category.value,
        "win_likelihood": STAGES[stage_name].win_likelihood,
    }

"""The data of one ChartMogul account, safe to use from several threads."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from airflow_provider_chartmogul.opportunity import ForecastCategory, OpportunityType
from airflow_provider_chartmogul.sandbox import _timestamps as timestamps
from airflow_provider_chartmogul.sandbox._generated import EXAMPLE_CUSTOMER_UUID, EXAMPLE_OWNER, generate
from airflow_provider_chartmogul.sandbox._opportunity_list import Fields, OpportunityList, Position, Record
from airflow_provider_chartmogul.sandbox._stages import (
    PIPELINES,
    STAGE_BY_CATEGORY,
    STAGES,
    get_stage,
    stage_fields,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_chartmogul.sandbox._opportunity_list import Filters, Page

_THIRTY_DAYS = 30 * 24 * 3600 * 1_000_000
_OPEN = (ForecastCategory.PIPELINE, ForecastCategory.BEST_CASE, ForecastCategory.COMMITTED)


@dataclass(order=True, slots=True)
class _Step:
    due: float
    number: int
    uuid: str = field(compare=False)
    category: ForecastCategory = field(compare=False)


class Account:
    """
    Opportunities, pipelines, and the changes scheduled for them.

    :param opportunities: number of opportunities to generate
    :param seed: of the generator
    """

    def __init__(self, *, opportunities: int, seed: int) -> None:
        self._lock = threading.Lock()
        self._random = Random(f"{seed} created later")
        self._latest_creation = 0
        self._steps: list[_Step] = []
        self._step_numbers = itertools.count()
        self._pipelines = {name: set(STAGES) for name in PIPELINES}
        records = [
            Record(Position(created, fields["uuid"]), fields) for created, fields in generate(seed, opportunities)
        ]
        self._opportunities = OpportunityList(reversed(records))

    def has_pipeline(self, name: str) -> bool:
        """Return whether the account has this pipeline."""
        with self._locked():
            return name in self._pipelines

    def has_stage(self, pipeline: str, name: str) -> bool:
        """Return whether the pipeline has this stage."""
        with self._locked():
            return name in self._pipelines.get(pipeline, ())

    def all(self) -> list[Fields]:
        """Return copies of all opportunities, newest first."""
        with self._locked():
            records = list(self._opportunities)
        # Outside the lock: copying a large account takes seconds, and requests go on meanwhile.
        return [record.copy() for record in records]

    def open_uuids(self) -> list[str]:
        """Return the UUIDs of the opportunities that are neither won nor lost, newest first."""
        with self._locked():
            records = itertools.chain(*(self._opportunities.with_value("forecast_category", each) for each in _OPEN))
            return [uuid for _, uuid in sorted((record.position for record in records), reverse=True)]

    def get(self, uuid: str) -> Fields:
        """
        Return a copy of an opportunity.

        :raises KeyError: if it does not exist
        """
        with self._locked():
            return self._opportunities[uuid].copy()

    def get_json(self, uuid: str) -> bytes:
        """
        Return the JSON of an opportunity.

        :raises KeyError: if it does not exist
        """
        with self._locked():
            return self._opportunities[uuid].json()

    def page(self, size: int, after: Position | None, filters: Filters) -> Page:
        """Return a page of the list; see :meth:`OpportunityList.page`."""
        with self._locked():
            return self._opportunities.page(size, after, filters)

    def add(self, given: Fields) -> Fields:
        """
        Add an opportunity; defaults fill the fields that are not given.

        :raises ValueError: if its ``uuid`` is taken
        :raises TypeError: if a value cannot be written as JSON
        :return: a copy
        """
        with self._locked():
            created = timestamps.parse(given.get("created_at"))
            if created is None:
                created = self._next_creation()
            fields = {**self._defaults(created, given), **given}
            if fields["uuid"] in self._opportunities:
                raise ValueError(f"Opportunity {fields['uuid']} exists already.")
            record = self._new_record(created, fields)
            self._opportunities.add(record)
            return record.copy()

    def change(self, uuid: str, changes: Fields) -> Fields:
        """
        Overwrite fields of an opportunity.

        :raises KeyError: if it does not exist
        :raises TypeError: if a value cannot be written as JSON
        :return: a copy
        """
        with self._locked():
            return self._change(uuid, changes, timestamps.now()).copy()

    def remove(self, uuid: str) -> None:
        """
        Delete an opportunity.

        :raises KeyError: if it does not exist
        """
        with self._locked():
            self._opportunities.remove(self._opportunities[uuid])

    def schedule(self, uuid: str, categories: Iterable[ForecastCategory], every: float) -> None:
        """
        Schedule changes of an opportunity's forecast category.

        :param every: seconds before each change
        :raises KeyError: if it does not exist
        """
        with self._locked():
            if uuid not in self._opportunities:
                raise KeyError(uuid)
            due = time.monotonic()
            for category in categories:
                due += every
                heapq.heappush(self._steps, _Step(due, next(self._step_numbers), uuid, category))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Changes that are due are made by the next access, with the time at which they were due: no timer is needed.
        with self._lock:
            while self._steps and self._steps[0].due <= (now := time.monotonic()):
                step = heapq.heappop(self._steps)
                if step.uuid in self._opportunities:
                    late = int((now - step.due) * 1_000_000)
                    self._change(step.uuid, stage_fields(step.category), timestamps.now() - late)
            yield

    def _change(self, uuid: str, changes: Fields, at: int) -> Record:
        old = self._opportunities[uuid]
        fields = {**old.fields, **changes}
        if "updated_at" not in changes:
            # Two changes within a millisecond must differ in this field, by which clients detect changes.
            before = timestamps.parse(old.fields.get("updated_at"))
            fields["updated_at"] = timestamps.to_json(at if before is None else max(at, before + 1000))
        created = timestamps.parse(changes.get("created_at")) or old.position.created
        new = self._new_record(created, fields)
        self._opportunities.remove(old)
        self._opportunities.add(new)
        return new

    def _new_record(self, created: int, fields: Fields) -> Record:
        record = Record(Position(created, str(fields["uuid"])), fields)
        record.json()  # raises before anything is stored
        pipeline, stage = fields["pipeline"], fields["pipeline_stage"]
        if isinstance(pipeline, str) and isinstance(stage, str):
            self._pipelines.setdefault(pipeline, set(STAGES)).add(stage)
        return record

    def _next_creation(self) -> int:
        # Strictly ascending, so that the list keeps the order of creations within a microsecond.
        self._latest_creation = max(timestamps.now(), self._latest_creation + 1)
        return self._latest_creation

    def _defaults(self, created: int, given: Fields) -> Fields:
        stage_name = given.get("pipeline_stage")
        if stage_name is None:
            stage_name = STAGE_BY_CATEGORY.get(str(given.get("forecast_category")), "Discovery")
        stage = get_stage(stage_name)
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

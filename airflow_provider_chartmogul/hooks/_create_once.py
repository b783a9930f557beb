"""
Create an opportunity exactly once, although ChartMogul has no idempotency key and answers get lost.

Before the first request to create it, the newest opportunity that the customer has is noted. ChartMogul lists the
newest first, so whatever is listed above the noted one later came later, whatever anybody's clock says. After a lost
answer, an opportunity with all the sent fields is looked for up there.
"""

from __future__ import annotations

import datetime
import itertools
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAmbiguousCreateError,
    ChartMogulError,
    ChartMogulNotFoundError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.hooks._retries import LONGEST_BACKOFF, backoff_delay, retry_after_exceeds_cap
from airflow_provider_chartmogul.opportunity._requests import create_body, matches_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

log = logging.getLogger(__name__)

_CLOCKS_DIFFER_BY = datetime.timedelta(minutes=1)  # Airflow's from ChartMogul's, at most
_TIMED_OUT_BEHIND_A_GATEWAY = frozenset({504, 524})
_MOST_CANDIDATES_SHOWN = 10
_KEY = "created_opportunity"
_RETENTION = datetime.timedelta(days=365)  # in which a task may be run again; Airflow's default is 30 days


@dataclass(frozen=True, slots=True)
class _Watermark:
    """
    What was there before the first request to create.

    :param moment: creation time of the newest that was there; None: there was none
    :param uuids: those that were there although created no earlier than this
    """

    moment: datetime.datetime | None
    uuids: frozenset[str] = frozenset()

    @classmethod
    def look(cls, hook: ChartMogulHook, customer_uuid: str) -> Self:
        newest = None
        uuids = []
        for opportunity in hook.paginate("opportunities", {"customer_uuid": customer_uuid, "per_page": 10}):
            created = _moment(opportunity.get("created_at"))
            if created is not None:
                if newest is not None and created < newest:
                    break
                newest = created
            uuids.append(opportunity.get("uuid", ""))
        return cls(newest, frozenset(uuids))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        return cls(_moment(record["moment"]), frozenset(record["uuids"]))

    def to_json(self) -> dict[str, Any]:
        return {"moment": self.moment.isoformat() if self.moment else None, "uuids": sorted(self.uuids)}

    def has(self, opportunity: Mapping[str, Any]) -> bool:
        if opportunity.get("uuid") in self.uuids:
            return True
        created = _moment(opportunity.get("created_at"))
        return self.moment is not None and created is not None and created < self.moment


def create_opportunity_once(
    hook: ChartMogulHook,
    fields: Mapping[str, Any],
    *,
    store: Any = None,
    tried_since: datetime.datetime | None = None,
) -> dict[str, Any]:
    """
    Create an opportunity, or find the one that an attempt created whose answer was lost.

    :param hook: sends the requests; its ``max_retries`` is also how often a creation is tried again
    :param fields: as in :meth:`~airflow_provider_chartmogul.hooks.chartmogul.ChartMogulHook.create_opportunity`
    :param store: Airflow's ``task_state_store``, where earlier tries left a note and later ones find it; None: this
        Airflow has none
    :param tried_since: a moment that no earlier try began before, for where the store has no note; None: there was no
        earlier try
    :return: the opportunity's JSON
    :raises ValueError: naming every field that is wrong; nothing was sent
    :raises ChartMogulAmbiguousCreateError: if it cannot be told which opportunity was created, if any was
    """
    return _Creation(hook, fields, store, tried_since).run()


class _Creation:
    def __init__(
        self, hook: ChartMogulHook, fields: Mapping[str, Any], store: Any, tried_since: datetime.datetime | None
    ) -> None:
        self._hook = hook
        self._fields = fields
        self._body = create_body(fields)
        self._store = store
        self._tried_since = tried_since
        self._before = _Watermark(None)

    def run(self) -> dict[str, Any]:
        opportunity = self._find_earlier()
        if opportunity is None:
            self._note()
            opportunity = self._create()
        self._note(created=opportunity["uuid"])
        return opportunity

    def _note(self, **more: str) -> None:
        if self._store is not None:
            record = {"before": self._before.to_json(), "sent": self._body, **more}
            self._store.set(_KEY, record, retention=_RETENTION)

    def _find_earlier(self) -> dict[str, Any] | None:
        """Return what an earlier try created; find out what is there before this one creates anything."""
        if self._store is not None and (record := self._store.get(_KEY)):
            self._before = _Watermark.from_json(record["before"])
            found = self._retrieve(record["created"]) if "created" in record else self._find(record["sent"])
            if record["sent"] == self._body:
                return found
            if found is not None:
                raise self._undecided([found], "was created by an earlier try, with fields that have changed since")
        elif self._tried_since is not None:
            self._before = _Watermark(self._tried_since - _CLOCKS_DIFFER_BY)
            return self._find(self._body)
        self._before = _Watermark.look(self._hook, self._body["customer_uuid"])
        return None

    def _retrieve(self, uuid: str) -> dict[str, Any] | None:
        try:
            return self._hook.retrieve_opportunity(uuid)
        except ChartMogulNotFoundError:
            # Somebody deleted it, and then ran the task anew.
            return None

    def _create(self) -> dict[str, Any]:
        retries = self._hook.max_retries
        retry = 0
        while True:
            try:
                opportunity = self._hook.create_opportunity(**self._fields)
            except ChartMogulError as error:
                if not error.may_have_acted:
                    raise
                log.warning("%s Looking whether the opportunity was created all the same.", error.summary)
                found = self._find(self._body) or self._recheck_after_delay(error, retry)
                if found is not None:
                    return found
                if retry >= retries:
                    raise
                retry += 1
                log.warning("The opportunity was not created. Trying again (retry %d of %d).", retry, retries)
            else:
                if retry:
                    self._check_for_duplicates()
                return opportunity

    def _recheck_after_delay(self, error: ChartMogulError, retry: int) -> dict[str, Any] | None:
        """Look once more after a while, since ChartMogul may still be at work on what nobody waits for any more."""
        if isinstance(error, ChartMogulUnreachableError) or error.status in _TIMED_OUT_BEHIND_A_GATEWAY:
            wait = min(self._hook.settings.timeout, LONGEST_BACKOFF)
        else:
            if retry_after_exceeds_cap(error):
                raise error
            wait = backoff_delay(retry, error.retry_after)
        time.sleep(wait)
        return self._find(self._body)

    def _find(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the opportunity that was created from a request body, if any was."""
        new = self._created_since(body["customer_uuid"])
        equal = [opportunity for opportunity in new if matches_request(opportunity, body)]
        if len(equal) == 1:
            log.info("Opportunity %s was created by an attempt whose answer was lost.", equal[0]["uuid"])
            return equal[0]
        if equal:
            raise self._undecided(equal, "have all its fields")
        edited = [opportunity for opportunity in new if _is_edited(opportunity)]
        if edited:
            raise self._undecided(edited, "may have had its fields before somebody changed them")
        return None

    def _check_for_duplicates(self) -> None:
        equal = [new for new in self._created_since(self._body["customer_uuid"]) if matches_request(new, self._body)]
        if len(equal) > 1:
            raise self._undecided(equal, "have all its fields")

    def _created_since(self, customer_uuid: str) -> list[dict[str, Any]]:
        listed = self._hook.list_opportunities(customer_uuid=customer_uuid)
        new = itertools.takewhile(lambda opportunity: not self._before.has(opportunity), listed)
        return [opportunity for opportunity in new if str(opportunity.get("customer_uuid")).lower() == customer_uuid]

    def _undecided(self, candidates: list[dict[str, Any]], why: str) -> ChartMogulAmbiguousCreateError:
        shown = [
            f"{candidate.get('uuid')} (created {candidate.get('created_at')})"
            for candidate in candidates[:_MOST_CANDIDATES_SHOWN]
        ]
        if len(candidates) > _MOST_CANDIDATES_SHOWN:
            shown.append(f"{len(candidates) - _MOST_CANDIDATES_SHOWN} more")
        return ChartMogulAmbiguousCreateError(
            "An answer of ChartMogul's was lost, and which opportunity this task created, if any, cannot be told: "
            f"{', '.join(shown)} {why}"
        )


def _is_edited(opportunity: Mapping[str, Any]) -> bool:
    created, updated = _moment(opportunity.get("created_at")), _moment(opportunity.get("updated_at"))
    return created is None or updated is None or updated > created


def _moment(text: object) -> datetime.datetime | None:
    try:
        moment = datetime.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if moment is not None and moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment

"""
Exactly-once creation of an opportunity, without idempotency keys in ChartMogul's API and despite lost responses.

Before the first request, the customer's newest opportunities are recorded. ChartMogul lists the newest first, so an
opportunity above the recorded ones was created later, independent of clocks. After a lost response, the opportunity is
identified by its idempotency key or, among those above the recorded ones, by its fields.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count, islice, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAmbiguousCreateError,
    ChartMogulError,
    ChartMogulNotFoundError,
)
from airflow_provider_chartmogul.hooks._paging import PAGE_SIZE
from airflow_provider_chartmogul.hooks._retries import LONGEST_BACKOFF, retry_after_exceeds_cap
from airflow_provider_chartmogul.opportunity._requests import create_body, matches_request, may_match_request
from airflow_provider_chartmogul.opportunity._values import parse_iso8601, read_mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_chartmogul._airflow.task_tries import EarlierTries
    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
    from airflow_provider_chartmogul.opportunity import NewOpportunity

log = logging.getLogger(__name__)

_CLOCK_SKEW = 60  # seconds between Airflow's clock and ChartMogul's, at most
_LONGEST_TRY = 15 * 60  # seconds in which a try creates, clock skew included
_SHORTEST_LAG = 10.0  # seconds; a list may lack an opportunity for that long
_FAR_FUTURE = 1e12  # seconds since 1970
_NOTE = "created_opportunity"
_RETENTION = datetime.timedelta(days=365)  # in which a task may be cleared; Airflow's default is 30 days


class IdempotencyKey(NamedTuple):
    """
    A custom attribute that identifies an opportunity.

    :param attribute: name of the attribute
    :param value: a UUID that no other opportunity has in that attribute
    """

    attribute: str
    value: str

    def added_to(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a creation with this key; ValueError if they have the attribute already."""
        custom = read_mapping(fields.get("custom") or {}, "custom")
        if self.attribute in {str(name).strip() for name in custom}:
            raise ValueError(f"custom[{self.attribute!r}]: is the idempotency_attribute, whose value the task sets.")
        return {**fields, "custom": {**custom, self.attribute: self.value}}

    def is_in(self, body: Mapping[str, Any]) -> bool:
        """Return whether a request body sets this key."""
        return {"key": self.attribute, "value": self.value} in body.get("custom", ())

    def is_on(self, opportunity: Mapping[str, Any]) -> bool:
        """Return whether an opportunity has this key."""
        return self._read(opportunity) == self.value

    def is_stored(self, opportunities: Iterable[Mapping[str, Any]]) -> bool:
        """Return whether ChartMogul is known to store the attribute, since one of the opportunities has a whole key."""
        return any(len(self._read(opportunity)) == len(self.value) for opportunity in opportunities)

    def _read(self, opportunity: Mapping[str, Any]) -> str:
        custom = opportunity.get("custom")
        return str(custom.get(self.attribute)).strip().lower() if isinstance(custom, Mapping) else ""


class _Attempt(NamedTuple):
    """
    A creation request whose outcome may be unknown; times are in seconds since 1970.

    :param body: the request body
    :param known: UUIDs of the customer's newest opportunities before the request
    :param not_before: opportunities created earlier are older than the request, apart from clock skew
    :param trusted_from: an equal opportunity that was created before this may be another client's
    :param trusted_until: an equal opportunity that was created after this may be another client's, too
    """

    body: Mapping[str, Any]
    known: Collection[Any] = ()
    not_before: float = 0
    trusted_from: float = 0
    trusted_until: float = _FAR_FUTURE

    def may_be(self, opportunity: Mapping[str, Any]) -> bool:
        """Return whether an opportunity was created after the attempt began, as far as is known."""
        return opportunity.get("uuid") not in self.known and _created_at(opportunity) >= self.not_before - _CLOCK_SKEW

    def must_be(self, opportunity: Mapping[str, Any]) -> bool:
        """Return whether an opportunity that equals the request is this attempt's."""
        return self.trusted_from <= _created_at(opportunity) < self.trusted_until


@dataclass(frozen=True, slots=True)
class Creation:
    """
    Create an opportunity, or find the one that an attempt with a lost response created.

    :param hook: sends the requests; its ``max_retries`` limits the retries of the creation, too
    :param fields: as in :meth:`~airflow_provider_chartmogul.hooks.chartmogul.ChartMogulHook.create_opportunity`
    :param key: the key that is among the fields, and searched for
    :param store: Airflow's ``task_state_store``, in which a try leaves a record for later ones; None before Airflow 3.3
    :param tries: earlier tries of the task, used if the store has no record; None: this is the first try
    :param sleep: sleeps for a number of seconds
    """

    hook: ChartMogulHook
    fields: Mapping[str, Any]
    key: IdempotencyKey | None = None
    store: Any = None
    tries: EarlierTries | None = None
    sleep: Callable[[float], object] = time.sleep

    def run(self) -> dict[str, Any]:
        """
        Return the opportunity's JSON.

        :raises ValueError: naming every field that is wrong; nothing was sent
        :raises ChartMogulAmbiguousCreateError: naming the candidates, if the opportunity cannot be identified
        """
        body = create_body(self.fields)
        note = None if self.store is None else self.store.get(_NOTE)
        if note is None and self.tries is not None:
            note = _Attempt(body, (), *(moment.timestamp() for moment in self.tries))._asdict()
        opportunity = self._find_noted(note or {}, body) or self._create(body, note or {})
        self._note(uuid=opportunity["uuid"])
        return opportunity

    def _note(self, **facts: Any) -> None:
        if self.store is not None:
            self.store.set(_NOTE, facts, retention=_RETENTION)

    def _find_noted(self, note: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any] | None:
        found = None
        if "body" in note:
            found = self._find_lost(_Attempt(**note))
        elif "uuid" in note:
            with suppress(ChartMogulNotFoundError):  # it was deleted since
                found = self.hook.retrieve_opportunity(note["uuid"])
        else:
            # So that a later try can distinguish a try that sent nothing from a lost record.
            self._note()
        if found is not None and str(found.get("customer_uuid")).lower() != body["customer_uuid"]:
            raise self._ambiguous([found], "was created by an earlier try, for another customer")
        return found

    def _create(self, body: Mapping[str, Any], note: Mapping[str, Any]) -> dict[str, Any]:
        marked, listed = self._list(body)
        if marked is not None:
            return marked
        known = [opportunity.get("uuid") for opportunity in islice(listed, PAGE_SIZE)]
        self._note(body=body, known=known, trusted_until=time.time() + _LONGEST_TRY)
        attempt, max_retries = _Attempt(body, known), self.hook.max_retries
        for retry in count():
            try:
                created = self.hook.create_opportunity(**cast("NewOpportunity", self.fields))
                break
            except ChartMogulError as error:
                if not error.may_have_acted:
                    if not retry:
                        self._note(**note)  # an earlier try may still have created it
                    raise
                log.warning("%s Checking whether the opportunity was created.", error.summary)
                if found := self._find_lost(attempt, error.retry_after or 0):
                    return found
                if retry >= max_retries or retry_after_exceeds_cap(error):
                    raise
                log.warning("The opportunity was not created. Trying again (retry %d of %d).", retry + 1, max_retries)
        if retry:
            self._check_for_duplicates(attempt, created)
        if self.key is not None and not self.key.is_on(created):
            log.warning(
                "ChartMogul did not store custom attribute %r: define it as text. Until then, retries compare fields.",
                self.key.attribute,
            )
        return created

    def _find_lost(self, attempt: _Attempt, retry_after: float = 0) -> dict[str, Any] | None:
        """Return the opportunity of an attempt; unless it is certain, check again after a delay."""
        with suppress(ChartMogulAmbiguousCreateError):
            if found := self._find(attempt):
                return found
        # ChartMogul may still be creating it, and its lists are eventually consistent.
        self.sleep(min(max(self.hook.settings.timeout, retry_after, _SHORTEST_LAG), LONGEST_BACKOFF))
        return self._find(attempt)

    def _find(self, attempt: _Attempt) -> dict[str, Any] | None:
        marked, listed = self._list(attempt.body)
        if marked is not None:
            return marked
        if self.key is not None and self.key.is_in(attempt.body):
            newest_of_account = islice(self.hook.list_opportunities(), PAGE_SIZE)
            if self.key.is_stored(chain(listed, newest_of_account)):
                return None
        new = list(takewhile(attempt.may_be, listed))
        equal = [opportunity for opportunity in new if matches_request(opportunity, attempt.body)]
        if len(equal) == 1 and attempt.must_be(equal[0]):
            log.info("Opportunity %s was created by an attempt whose response was lost.", equal[0]["uuid"])
            return equal[0]
        if similar := equal or [opportunity for opportunity in new if may_match_request(opportunity, attempt.body)]:
            raise self._ambiguous(similar, "have its fields, or may have had them before they were changed")
        return None

    def _check_for_duplicates(self, attempt: _Attempt, created: Mapping[str, Any]) -> None:
        _, listed = self._list(attempt.body)
        fields = {name: value for name, value in created.items() if name not in ("uuid", "created_at", "updated_at")}
        equal = [one for one in takewhile(attempt.may_be, listed) if fields.items() <= one.items()]
        if len(equal) > 1:
            raise self._ambiguous(equal, "are equal, so ChartMogul may have created one of them late")

    def _list(self, body: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Iterable[dict[str, Any]]]:
        """Return the opportunity that has the key, if any, and the opportunities of the customer, newest first."""
        listed = self.hook.list_opportunities(customer_uuid=body["customer_uuid"])
        own = (one for one in listed if str(one.get("customer_uuid")).lower() == body["customer_uuid"])
        if self.key is None:
            return None, own  # not all of them are needed
        everything = list(own)
        marked = [opportunity for opportunity in everything if self.key.is_on(opportunity)]
        if len(marked) > 1:
            raise self._ambiguous(marked, "have its idempotency key")
        if marked:
            log.info("Opportunity %s has the idempotency key of this task.", marked[0]["uuid"])
        return (marked[0] if marked else None), everything

    def _ambiguous(self, candidates: list[dict[str, Any]], why: str) -> ChartMogulAmbiguousCreateError:
        named = ", ".join(f"{one.get('uuid')} (created {one.get('created_at')})" for one in candidates[:10])
        more = f" and {len(candidates) - 10} more" if len(candidates) > 10 else ""
        hint = "set the operator's idempotency_attribute to make this certain in future runs"
        if self.key is not None:
            hint = f"check that custom attribute {self.key.attribute!r} is defined in ChartMogul"
        return ChartMogulAmbiguousCreateError(
            f"A response was lost, so it is uncertain which opportunity this task created: {named}{more} {why}; {hint}",
            conn_id=self.hook.chartmogul_conn_id,
        )


def _created_at(opportunity: Mapping[str, Any]) -> float:
    return moment.timestamp() if (moment := parse_iso8601(opportunity.get("created_at"))) else _FAR_FUTURE

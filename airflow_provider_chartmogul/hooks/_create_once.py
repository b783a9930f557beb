"""
Exactly-once creation of an opportunity, without idempotency keys in ChartMogul's API and despite lost responses.

Before the first request, the customer's newest opportunities are recorded. ChartMogul lists the newest first, so an
opportunity above the recorded ones was created later, independent of clocks. After a lost response, the opportunity is
identified by its idempotency key or, among those above the recorded ones, by its fields.
"""

from __future__ import annotations

import datetime
import itertools
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAmbiguousCreateError,
    ChartMogulError,
    ChartMogulNotFoundError,
)
from airflow_provider_chartmogul.hooks._retries import LONGEST_BACKOFF, retry_after_exceeds_cap
from airflow_provider_chartmogul.opportunity._requests import (
    create_body,
    matches_request,
    may_match_request,
    read_mapping,
)
from airflow_provider_chartmogul.opportunity._values import parse_iso8601

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_chartmogul._airflow.task_tries import EarlierTries
    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
    from airflow_provider_chartmogul.opportunity import NewOpportunity

log = logging.getLogger(__name__)

_CLOCK_SKEW = datetime.timedelta(minutes=1)  # between Airflow and ChartMogul, at most
_LONGEST_TRY = datetime.timedelta(minutes=15)  # in which a try creates, clock skew included
_LONG_AGO = datetime.datetime.min.replace(tzinfo=datetime.UTC)
_FAR_FUTURE = datetime.datetime.max.replace(tzinfo=datetime.UTC)
_SHORTEST_LAG = 10.0  # seconds; a list may lack an opportunity for that long
_PAGE = 200  # the API's maximum
_MAX_CANDIDATES_NAMED = 10
_NOTE = "created_opportunity"
_RETENTION = datetime.timedelta(days=365)  # in which a task may be cleared; Airflow's default is 30 days
_SET_BY_CHARTMOGUL = frozenset({"uuid", "created_at", "updated_at"})


class IdempotencyKey(NamedTuple):
    """
    A custom attribute that identifies an opportunity.

    :param attribute: name of the attribute
    :param value: a UUID that no other opportunity has in that attribute
    """

    attribute: str
    value: str

    def is_on(self, opportunity: Mapping[str, Any]) -> bool:
        """Return whether an opportunity has this key."""
        return self._read(opportunity) == self.value

    def is_stored(self, opportunities: Iterable[Mapping[str, Any]]) -> bool:
        """Return whether ChartMogul is known to store the attribute, since one of the opportunities has a whole key."""
        return any(len(self._read(opportunity)) == len(self.value) for opportunity in opportunities)

    def is_in(self, body: Mapping[str, Any]) -> bool:
        """Return whether a request body sets this key."""
        return {"key": self.attribute, "value": self.value} in body.get("custom", ())

    def _read(self, opportunity: Mapping[str, Any]) -> str:
        custom = opportunity.get("custom")
        return str(custom.get(self.attribute)).strip().lower() if isinstance(custom, Mapping) else ""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """
    A creation request whose outcome may be unknown.

    :param body: the request body
    :param known: UUIDs of the customer's newest opportunities before the request
    :param not_before: an opportunity created before this existed before the request
    :param trusted_from: an equal opportunity that was created before this may be another client's
    :param trusted_until: so may an equal one that was created after this
    """

    body: Mapping[str, Any]
    known: frozenset[str] = frozenset()
    not_before: datetime.datetime = _LONG_AGO
    trusted_from: datetime.datetime = _LONG_AGO
    trusted_until: datetime.datetime = _FAR_FUTURE

    @classmethod
    def from_json(cls, note: Mapping[str, Any]) -> Self:
        until = datetime.datetime.fromisoformat(note["begun_at"]) + _LONGEST_TRY
        return cls(note["body"], frozenset(note["known"]), trusted_until=until)

    def to_json(self) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.UTC)
        return {"body": self.body, "known": sorted(self.known), "begun_at": now.isoformat()}

    def is_preceded_by(self, opportunity: Mapping[str, Any]) -> bool:
        """Return whether an opportunity existed before the attempt."""
        created = parse_iso8601(opportunity.get("created_at"))
        return opportunity.get("uuid") in self.known or (created is not None and created < self.not_before)

    def trusts(self, opportunity: Mapping[str, Any]) -> bool:
        """Return whether an opportunity that equals the request must be this attempt's."""
        created = parse_iso8601(opportunity.get("created_at"))
        return created is not None and self.trusted_from <= created <= self.trusted_until


def create_opportunity_once(
    hook: ChartMogulHook,
    fields: Mapping[str, Any],
    *,
    key: IdempotencyKey | None = None,
    store: Any = None,
    tries: EarlierTries | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, Any]:
    """
    Create an opportunity, or find the one that an attempt with a lost response created.

    :param hook: sends the requests; its ``max_retries`` limits the retries of the creation, too
    :param fields: as in :meth:`~airflow_provider_chartmogul.hooks.chartmogul.ChartMogulHook.create_opportunity`
    :param key: stored in the opportunity, and searched for
    :param store: Airflow's ``task_state_store``, in which a try leaves a record for later ones; None before Airflow 3.3
    :param tries: earlier tries of the task, used if the store has no record; None: this is the first try
    :param sleep: sleeps for a number of seconds
    :return: the opportunity's JSON
    :raises ValueError: naming every field that is wrong; nothing was sent
    :raises ChartMogulAmbiguousCreateError: naming the candidates, if the opportunity cannot be identified
    """
    if key is not None:
        custom = read_mapping(fields.get("custom") or {}, "custom")
        if key.attribute in custom:
            raise ValueError(f"custom[{key.attribute!r}]: is the idempotency_attribute, whose value the task sets.")
        fields = {**fields, "custom": {**custom, key.attribute: key.value}}
    return _Creation(hook, fields, create_body(fields), key, store, tries, sleep).run()


@dataclass(frozen=True, slots=True)
class _Creation:
    hook: ChartMogulHook
    fields: Mapping[str, Any]
    body: Mapping[str, Any]
    key: IdempotencyKey | None
    store: Any
    tries: EarlierTries | None
    sleep: Callable[[float], object]

    def run(self) -> dict[str, Any]:
        opportunity = self._find_of_earlier_tries() or self._create_unless_marked()
        self._note("created", uuid=opportunity["uuid"])
        return opportunity

    def _note(self, state: str, **facts: Any) -> None:
        if self.store is not None:
            self.store.set(_NOTE, {"state": state, **facts}, retention=_RETENTION)

    def _find_of_earlier_tries(self) -> dict[str, Any] | None:
        note = (self.store is not None and self.store.get(_NOTE)) or {"state": "missing"}
        found = None
        if note["state"] == "created":
            found = self._retrieve(note["uuid"])
        elif note["state"] == "sent":
            found = self._find_lost(_Attempt.from_json(note))
        elif note["state"] == "missing" and self.tries is not None:
            since = self.tries.not_before - _CLOCK_SKEW
            found = self._find_lost(_Attempt(self.body, not_before=since, trusted_from=self.tries.run_started))
        else:
            # So that a later try can distinguish a try that sent nothing from a lost record.
            self._note("nothing sent")
        if found is not None and str(found.get("customer_uuid")).lower() != self.body["customer_uuid"]:
            raise self._ambiguous([found], "was created by an earlier try, for another customer")
        return found

    def _retrieve(self, uuid: str) -> dict[str, Any] | None:
        try:
            return self.hook.retrieve_opportunity(uuid)
        except ChartMogulNotFoundError:
            log.info("Opportunity %s, which an earlier try created, does not exist any more.", uuid)
            return None

    def _create_unless_marked(self) -> dict[str, Any]:
        listed: Iterable[dict[str, Any]] = self._list(self.body)
        if self.key is not None:
            listed = list(listed)
            if marked := self._find_marked(listed):
                return marked
        known = frozenset(str(opportunity.get("uuid")) for opportunity in itertools.islice(listed, _PAGE))
        attempt = _Attempt(self.body, known)
        self._note("sent", **attempt.to_json())
        return self._create(attempt)

    def _create(self, attempt: _Attempt) -> dict[str, Any]:
        for retry in itertools.count():
            try:
                opportunity = self.hook.create_opportunity(**cast("NewOpportunity", self.fields))
            except ChartMogulError as error:
                if not error.may_have_acted:
                    if not retry:
                        self._note("nothing sent")
                    raise
                log.warning("%s Checking whether the opportunity was created.", error.summary)
                if found := self._find_lost(attempt, error.retry_after):
                    return found
                if retry >= self.hook.max_retries or retry_after_exceeds_cap(error):
                    raise
                log.warning(
                    "The opportunity was not created. Trying again (retry %d of %d).", retry + 1, self.hook.max_retries
                )
            else:
                break
        if retry:
            self._check_for_duplicates(attempt, opportunity)
        if self.key is not None and not self.key.is_on(opportunity):
            log.warning(
                "ChartMogul did not store custom attribute %r. Define it in ChartMogul, for opportunities and as text; "
                "until then, retries compare fields.",
                self.key.attribute,
            )
        return opportunity

    def _find_lost(self, attempt: _Attempt, retry_after: float | None = None) -> dict[str, Any] | None:
        """Return the opportunity of an attempt; unless it is certain, check again after a delay."""
        with suppress(ChartMogulAmbiguousCreateError):
            if found := self._find(attempt):
                return found
        # ChartMogul may still be creating it, and its lists are eventually consistent.
        wait = max(self.hook.settings.timeout, retry_after or 0, _SHORTEST_LAG)
        self.sleep(min(wait, LONGEST_BACKOFF))
        return self._find(attempt)

    def _find(self, attempt: _Attempt) -> dict[str, Any] | None:
        listed: Iterable[dict[str, Any]] = self._list(attempt.body)
        if self.key is not None:
            listed = list(listed)
            if marked := self._find_marked(listed):
                return marked
            newest_of_account = itertools.islice(self.hook.list_opportunities(), _PAGE)
            if self.key.is_in(attempt.body) and self.key.is_stored(itertools.chain(listed, newest_of_account)):
                return None
        new = list(itertools.takewhile(lambda opportunity: not attempt.is_preceded_by(opportunity), listed))
        equal = [opportunity for opportunity in new if matches_request(opportunity, attempt.body)]
        if len(equal) == 1 and attempt.trusts(equal[0]):
            log.info("Opportunity %s was created by an attempt whose response was lost.", equal[0]["uuid"])
            return equal[0]
        if equal:
            raise self._ambiguous(equal, "have all its fields")
        if similar := [opportunity for opportunity in new if may_match_request(opportunity, attempt.body)]:
            raise self._ambiguous(similar, "may have had its fields before ChartMogul or somebody changed them")
        return None

    def _find_marked(self, listed: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
        marked = [opportunity for opportunity in listed if self.key is not None and self.key.is_on(opportunity)]
        if len(marked) > 1:
            raise self._ambiguous(marked, "have its idempotency key")
        if marked:
            log.info("Opportunity %s has the idempotency key of this task.", marked[0]["uuid"])
        return marked[0] if marked else None

    def _check_for_duplicates(self, attempt: _Attempt, created: dict[str, Any]) -> None:
        def is_duplicate(opportunity: dict[str, Any]) -> bool:
            differing = {name for name in created if opportunity.get(name) != created[name]}
            return differing <= _SET_BY_CHARTMOGUL or (self.key is not None and self.key.is_on(opportunity))

        new = itertools.takewhile(lambda opportunity: not attempt.is_preceded_by(opportunity), self._list(self.body))
        duplicates = [opportunity for opportunity in new if is_duplicate(opportunity)]
        if len(duplicates) > 1:
            raise self._ambiguous(duplicates, "are equal, so ChartMogul may have created one of them late")

    def _list(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        customer = body["customer_uuid"]
        for opportunity in self.hook.list_opportunities(customer_uuid=customer):
            if str(opportunity.get("customer_uuid")).lower() == customer:
                yield opportunity

    def _ambiguous(self, candidates: list[dict[str, Any]], why: str) -> ChartMogulAmbiguousCreateError:
        named = [
            f"{candidate.get('uuid')} (created {candidate.get('created_at')})"
            for candidate in candidates[:_MAX_CANDIDATES_NAMED]
        ]
        if len(candidates) > _MAX_CANDIDATES_NAMED:
            named.append(f"{len(candidates) - _MAX_CANDIDATES_NAMED} more")
        hint = "set the operator's idempotency_attribute to make this certain in future runs"
        if self.key is not None:
            hint = f"check that custom attribute {self.key.attribute!r} is defined in ChartMogul"
        return ChartMogulAmbiguousCreateError(
            "A response was lost, so it is uncertain which opportunity this task created, if any: "
            f"{', '.join(named)} {why}; {hint}"
        )

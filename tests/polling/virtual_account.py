"""A simulated account and clock, for tests that need thousands of poll rounds."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import random
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_provider_chartmogul._polling import engine
from tests.hooks.stand_ins import error_of, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE_SIZE = 200
HOST = "https://virtual.example"


@dataclass
class VirtualAccount:
    """
    The opportunities of an account, listed with keyset cursors like ChartMogul's, and a log of the requests.

    :param categories: the forecast category of each opportunity; later ones are newer
    :param created: creation times in microseconds, overriding ascending ones
    :param extra: additional fields of an opportunity
    :param is_down: whether the response to every request is 503
    :param unlisted: opportunities that pages of the list lack
    :param hanging: opportunities whose requests never get a response
    :param key: the API key that is accepted
    :param settings: the settings of its connections
    :param connections: settings, or the error of a lookup, by connection id; others get those of ``settings``
    :param lookup_seconds: the time that Airflow takes to load a connection
    :param page_seconds: latency of a list page
    :param get_seconds: latency of a single opportunity
    :param fault: called with the endpoint and the query of each request; raises, or returns a response that replaces
        the true one, or None
    """

    categories: dict[str, str | None] = field(default_factory=dict)
    created: dict[str, int] = field(default_factory=dict)
    extra: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_down: bool = False
    unlisted: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)
    key: str = "key"
    settings: Any = field(default_factory=lambda: settings_of(HOST, max_requests_per_second=1000))
    connections: dict[str, Any] = field(default_factory=dict)
    lookup_seconds: float = 0.0
    page_seconds: float = 0.01
    get_seconds: float = 0.01
    fault: Callable[[str, dict[str, Any]], Any] = lambda _endpoint, _query: None
    requests: int = 0
    lookups: int = 0
    log: list[tuple[float, str]] = field(default_factory=list)
    """The time and subject of each request: a UUID, ``"head"``, ``"page"``; ``"end"`` with the last page."""
    _newest: int = 1_700_000_000_000_000
    _listed: list[Any] = field(default_factory=list)
    _positions: list[tuple[int, str]] = field(default_factory=list)

    def entry(self, uuid: str) -> dict[str, Any]:
        return {
            "uuid": uuid,
            "customer_uuid": "cus_1",
            "forecast_category": self.categories[uuid],
            "created_at": _timestamp(self._created(uuid)),
            "updated_at": "now",
            **self.extra.get(uuid, {}),
        }

    @property
    def polled(self) -> list[str]:
        """The opportunities that were requested individually, in order."""
        return [what for _, what in self.log if what not in ("head", "page", "end")]

    def pages_since(self, moment: float) -> int:
        """Return the number of list pages that were requested."""
        return sum(what in ("head", "page") for sent, what in self.log if sent >= moment)

    def poll(self) -> None:
        """Make the engine of the running event loop poll this account."""
        loop = asyncio.get_running_loop()
        engine._engines[loop] = engine.Engine(self._open_hook, self._run)

    async def _open_hook(self, conn_id: str) -> Any:
        self.lookups += 1
        await asyncio.sleep(self.lookup_seconds)
        settings = self.connections.get(conn_id, self.settings)
        if isinstance(settings, Exception):
            raise settings
        return VirtualHook(self, conn_id, settings)

    async def _run(self, function: Callable[..., Any], hook: VirtualHook) -> Any:
        answer, error = None, None
        # A response shows the account at some time between request and response.
        before = random.random() * min(self.get_seconds, self.page_seconds)
        sent = asyncio.get_running_loop().time()
        await asyncio.sleep(before)
        requests = len(self.log)
        try:
            answer = function(hook)
        except Exception as raised:  # noqa: BLE001  # it is raised in the event loop
            error = raised
        is_page = any(what in ("head", "page") for _, what in self.log[requests:])
        self.log[requests:] = [(sent, what) for _, what in self.log[requests:]]
        if self.hanging & {what for _, what in self.log[requests:]}:
            await asyncio.sleep(1000)
        await asyncio.sleep((self.page_seconds if is_page else self.get_seconds) - before)
        if error:
            raise error
        return answer

    def _created(self, uuid: str) -> int:
        if uuid not in self.created:
            self._newest += 1_000_000
            self.created[uuid] = self._newest
        return self.created[uuid]

    def positions(self) -> list[tuple[int, str]]:
        """Return the negated creation time and UUID of each opportunity, in the order of the list."""
        # Sorted only after a change, since there may be 50,000. Lists of the same objects are compared quickly.
        if self._listed != [*self.categories, *self.created.values()]:
            self._positions = sorted((-self._created(uuid), uuid) for uuid in self.categories)
            self._listed = [*self.categories, *self.created.values()]
        return self._positions


class VirtualHook:
    """Stands in for a ChartMogulHook: the methods that the engine uses, without HTTP."""

    def __init__(self, account: VirtualAccount, conn_id: str, settings: Any) -> None:
        self._account = account
        self.chartmogul_conn_id = conn_id
        self.settings = settings
        self.host = HOST

    def request(self, method: str, endpoint: str, *, params: dict[str, Any]) -> Any:
        assert (method, endpoint) == ("GET", "opportunities")
        account = self._account
        cursor = params.get("cursor")
        account.log.append((0.0, "page" if cursor else "head"))
        if (answer := self._check(endpoint, params)) is not None:
            return answer
        positions = account.positions()
        start = bisect_right(positions, _decode(cursor)) if cursor else 0
        page = positions[start : start + params["per_page"]]
        has_more = start + len(page) < len(positions)
        if not has_more:
            account.log.append((0.0, "end"))
        return {
            "entries": [account.entry(uuid) for _, uuid in page if uuid not in account.unlisted],
            "cursor": _encode(page[-1]) if page else None,
            "has_more": has_more,
        }

    def retrieve_opportunity(self, uuid: str) -> Any:
        account = self._account
        account.log.append((0.0, uuid))
        path = f"opportunities/{uuid}"
        if (answer := self._check(path, {})) is not None:
            return answer
        if uuid not in account.categories:
            raise error_of(path, 404)
        return account.entry(uuid)

    def close(self) -> None:
        pass

    def _check(self, endpoint: str, query: dict[str, Any]) -> Any:
        account = self._account
        account.requests += 1
        if account.is_down:
            raise error_of(endpoint, 503)
        if self.settings.api_key != account.key:
            raise error_of(endpoint, 401)
        return account.fault(endpoint, query)


def pipeline_of(count: int) -> dict[str, str | None]:
    """Return a number of open opportunities, oldest first."""
    return {uuid_of(number): "pipeline" for number in range(count)}


def uuid_of(number: int) -> str:
    """Return a UUID for a number, in an unrelated order."""
    return str(UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))


@functools.cache
def _timestamp(microseconds: int) -> str:
    moment = datetime.fromtimestamp(microseconds // 1_000_000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{microseconds // 1000 % 1000:03d}Z"


def _encode(position: tuple[int, str]) -> str:
    return base64.b64encode(f"{-position[0]}&{position[1]}".encode()).decode()


def _decode(cursor: str) -> tuple[int, str]:
    created, _, uuid = base64.b64decode(cursor).decode().partition("&")
    return -int(created), uuid


@dataclass
class VirtualStore:
    """The state store of an asset, with a count of its writes."""

    values: dict[str, Any] = field(default_factory=dict, repr=False)
    writes: int = 0

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        assert value is not None
        self.writes += 1
        self.values[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.values.pop(key, None)

"""A ChartMogul account in a process of its own: true keyset cursors, its limits enforced, and a latency."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import parse_qs, urlsplit

from airflow_provider_chartmogul.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from multiprocessing.connection import Connection

API_KEY = "benchmark-key"
PAGE_SIZE = 200
REQUESTS_PER_SECOND = 40
MAX_CONNECTIONS = 20
LATENCIES = ((0.0, 0.0), (0.05, 0.05), (0.3, 0.1))
"""Seconds until a list page and until a single opportunity arrive: on this machine, nearby, and as users have it."""


@dataclass(frozen=True)
class Usage:
    """The requests since the last count: by status, and the most of any second."""

    by_status: Counter[int]
    most_in_a_second: int
    seconds: float

    @property
    def per_minute(self) -> float:
        """Requests a minute, refused ones included."""
        return 60 * self.by_status.total() / self.seconds

    @property
    def refused(self) -> int:
        """Requests beyond the limits."""
        return self.by_status[429] + self.by_status[503]


def latency_name(latency: tuple[float, float]) -> str:
    """Return a pair of :data:`LATENCIES` as text."""
    page, single = (f"{seconds * 1000:.0f} ms" for seconds in latency)
    return page if page == single else f"{page} a page, {single} a GET"


class Account:
    """
    Run the account while this context lasts.

    :param opportunities: number of opportunities, newest first in :attr:`uuids`
    :param open_numbers: positions of those that are open; the others are lost; None: all are open
    :param latency: seconds until a list page and until a single opportunity arrive
    :param limited: whether ChartMogul's limits are enforced
    """

    def __init__(
        self,
        opportunities: int,
        *,
        open_numbers: Collection[int] | None = None,
        latency: tuple[float, float] = (0.0, 0.0),
        limited: bool = True,
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, servers_end = spawn.Pipe()
        arguments = (servers_end, opportunities, open_numbers, latency, limited)
        self._process = spawn.Process(target=_serve, args=arguments, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self.url: str
        self.uuids: list[str]
        self.url, self.uuids = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    @property
    def connection_json(self) -> str:
        """The Airflow connection that leads here."""
        return json.dumps({"conn_type": "chartmogul", "host": self.url, "password": API_KEY})

    def win(self, uuid: str) -> float:
        """Move an opportunity to won; return when, by this machine's monotonic clock."""
        return cast("float", self._call("win", uuid))

    def usage(self) -> Usage:
        """Return the requests since the last call."""
        return cast("Usage", self._call("usage", None))

    def _call(self, question: str, argument: Any) -> Any:
        self._pipe.send((question, argument))
        return self._pipe.recv()


class _Data:
    """The opportunities as JSON, and the requests so far; used by the server's loop and by the pipe's thread."""

    def __init__(
        self,
        count: int,
        open_numbers: Collection[int] | None,
        *,
        limited: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.fields: dict[str, dict[str, Any]] = {}
        self.json: dict[str, bytes] = {}
        self.keys: list[tuple[int, str]] = []  # ascending by negated creation time
        for number, fields in enumerate(Sandbox(opportunities=count).opportunities):
            created = round(datetime.fromisoformat(fields["created_at"]).timestamp() * 1000)
            is_open = open_numbers is None or number in open_numbers
            fields["forecast_category"] = "pipeline" if is_open else "lost"
            self.keys.append((-created, fields["uuid"]))
            self.fields[fields["uuid"]] = fields
            self.json[fields["uuid"]] = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        self.keys.sort()
        self.limited = limited
        self.connections = 0
        self.starts: deque[float] = deque()
        self.statuses: Counter[int] = Counter()
        self.most_in_a_second = 0
        self.counted_since = clock()

    def win(self, uuid: str) -> float:
        fields = {**self.fields[uuid], "forecast_category": "won", "updated_at": "2024-04-01T00:00:00.000Z"}
        self.fields[uuid] = fields
        self.json[uuid] = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        return time.monotonic()

    def usage(self) -> Usage:
        now = self._clock()
        usage = Usage(self.statuses, self.most_in_a_second, now - self.counted_since)
        self.statuses, self.most_in_a_second, self.counted_since = Counter(), 0, now
        return usage

    def respond(self, target: str) -> tuple[int, bytes, bool]:
        """Return status and body, and whether it is a page of the list."""
        now = self._clock()
        while self.starts and self.starts[0] <= now - 1:
            self.starts.popleft()
        if self.limited and len(self.starts) >= REQUESTS_PER_SECOND:
            return 429, b'{"code":429,"message":"Your request rate has exceeded our rate limit.","param":null}', False
        if self.limited and self.connections > MAX_CONNECTIONS:
            return 503, b'{"code":503,"message":"Service unavailable","param":null}', False
        self.starts.append(now)
        self.most_in_a_second = max(self.most_in_a_second, len(self.starts))
        url = urlsplit(target)
        resource, _, uuid = url.path.removeprefix("/v1/opportunities").partition("/")
        if resource:
            return 404, b'{"code":404,"message":"Not found","param":null}', False
        if uuid:
            found = self.json.get(uuid)
            return (200, found, False) if found else (404, b'{"code":404,"message":"does not exist"}', False)
        query = parse_qs(url.query)
        size = int(query.get("per_page", [str(PAGE_SIZE)])[0])
        cursor = query.get("cursor", [""])[0]
        created, _, after = cursor.partition("&")
        start = bisect_right(self.keys, (-int(created), after)) if cursor else 0
        keys = self.keys[start : start + size]
        next_cursor = f"{-keys[-1][0]}&{keys[-1][1]}" if keys else ""
        entries = b",".join([self.json[uuid] for _, uuid in keys])
        has_more = b"true" if start + size < len(self.keys) else b"false"
        return 200, b'{"entries":[%b],"cursor":"%b","has_more":%b}' % (entries, next_cursor.encode(), has_more), True


class _Answering(asyncio.Protocol):
    def __init__(self, data: _Data, latency: tuple[float, float]) -> None:
        self._data = data
        self._latency = latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._data.connections += 1

    def connection_lost(self, error: Exception | None) -> None:
        self._data.connections -= 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            status, body, is_page = self._data.respond(head.split(b" ", 2)[1].decode())
            head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (
                status,
                len(body),
            )
            seconds = self._latency[0 if is_page else 1]
            asyncio.get_running_loop().call_later(seconds, self._write, status, head + body)

    def _write(self, status: int, response: bytes) -> None:
        self._data.statuses[status] += 1
        self._transport.write(response)


def _serve(
    pipe: Connection,
    count: int,
    open_numbers: Collection[int] | None,
    latency: tuple[float, float],
    limited: bool,  # noqa: FBT001  # a process's arguments
) -> None:
    data = _Data(count, open_numbers, limited=limited)

    def control() -> None:
        while True:
            question, argument = pipe.recv()
            pipe.send(data.win(argument) if question == "win" else data.usage())

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Answering(data, latency), "127.0.0.1", 0, backlog=1000)
        pipe.send((f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", [uuid for _, uuid in data.keys]))
        threading.Thread(target=control, daemon=True).start()
        await server.serve_forever()

    asyncio.run(run())

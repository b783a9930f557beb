"""The sandbox as its user sees it: a server in a thread, and handles on all that is in it."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.sandbox.account import Account
from airflow_provider_chartmogul.sandbox.api import Api
from airflow_provider_chartmogul.sandbox.auth import Keys
from airflow_provider_chartmogul.sandbox.faults import Fault, FaultQueue
from airflow_provider_chartmogul.sandbox.http_app import Web
from airflow_provider_chartmogul.sandbox.rate_limit import Limits
from airflow_provider_chartmogul.sandbox.request_log import RecordedRequest, RequestLog

if TYPE_CHECKING:
    from types import TracebackType

_HOST = "127.0.0.1"
_REMEMBERED_REQUESTS = 100_000


class Sandbox:
    """
    A ChartMogul account with its API on 127.0.0.1, served by a thread of its own.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. Any thread may call any method.

    :param port: where to listen; 0 for any free port
    :param api_key: the key that may do everything
    :param opportunities: how many there are to start with
    :param seed: what they are like; the same seed gives the same ones
    :param requests_per_second: how many requests are answered in any second; None for no limit
    :param max_connections: how many requests may be under way at once; None for no limit
    :param latency: seconds that every answer takes
    :raises ValueError: if the key is none: printable ASCII without a colon
    """

    def __init__(
        self,
        *,
        port: int = 0,
        api_key: str = "sandbox-api-key",
        opportunities: int = 3,
        seed: int = 0,
        requests_per_second: int | None = 40,
        max_connections: int | None = 20,
        latency: float = 0.0,
    ) -> None:
        self._port = port
        self._keys = Keys(api_key)
        self._account = Account(opportunities=opportunities, seed=seed)
        self._faults = FaultQueue()
        self._log = RequestLog(_REMEMBERED_REQUESTS)
        self._web = Web(
            api=Api(self._account),
            keys=self._keys,
            limits=Limits(requests_per_second=requests_per_second, max_connections=max_connections),
            faults=self._faults,
            log=self._log,
            latency=latency,
        )
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """
        Serve the API, on the same port as before if it was stopped in between.

        :raises OSError: if the port is taken
        :raises RuntimeError: if it is being served already
        """
        if self._server is not None:
            raise RuntimeError(f"The sandbox is running already, at {self.url}.")
        listener = socket.create_server((_HOST, self._port))
        self._port = listener.getsockname()[1]
        self._server = _Server(self._web, listener)

    def stop(self) -> None:
        """Close the port and all connections. The opportunities are kept for another :meth:`start`."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; 0 before the first start if none was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL, without ``/v1``."""
        return f"http://{_HOST}:{self._port}"

    @property
    def api_key(self) -> str:
        """The key that may do everything."""
        return self._keys.full

    @property
    def read_only_api_key(self) -> str:
        """A key that may not create, update or delete."""
        return self._keys.read_only

    @property
    def seatless_api_key(self) -> str:
        """A key of a user without a CRM seat: ping and account work, opportunities do not."""
        return self._keys.seatless

    @property
    def connection(self) -> dict[str, str]:
        """The Airflow connection to this sandbox."""
        return {"conn_type": "chartmogul", "host": self.url, "password": self.api_key}

    @property
    def connection_json(self) -> str:
        """The Airflow connection as the value of an environment variable ``AIRFLOW_CONN_…``."""
        return json.dumps(self.connection)

    def rotate_api_key(self, api_key: str) -> None:
        """
        Reject the key that may do everything from now on, and accept another in its place.

        :param api_key: the new key
        :raises ValueError: if it is no key: printable ASCII without a colon
        """
        self._keys.full = api_key

    @property
    def opportunities(self) -> list[dict[str, Any]]:
        """Copies of all opportunities, as the API returns them and in its order: the newest first."""
        return self._account.all()

    def opportunity(self, uuid: str) -> dict[str, Any]:
        """
        Return a copy of an opportunity, as the API returns it.

        :param uuid: its UUID
        :raises KeyError: if there is none
        """
        return self._account.get(uuid)

    def add_opportunity(self, **fields: Any) -> dict[str, Any]:
        """
        Add an opportunity.

        :param fields: fields of the API's response, kept as given, nonsense included; defaults fill the rest
        :raises ValueError: if there is one with this ``uuid``
        :return: a copy of it
        """
        return self._account.add(fields)

    def set_opportunity(self, uuid: str, **fields: Any) -> dict[str, Any]:
        """
        Change an opportunity.

        :param uuid: its UUID
        :param fields: fields of the API's response, kept as given, nonsense included; ``updated_at`` becomes
            the present unless given
        :raises KeyError: if there is none
        :return: a copy of it
        """
        return self._account.change(uuid, fields)

    def remove_opportunity(self, uuid: str) -> None:
        """
        Delete an opportunity.

        :param uuid: its UUID
        :raises KeyError: if there is none
        """
        self._account.remove(uuid)

    def advance(self, uuid: str, *categories: str, every: float) -> None:
        """
        Let an opportunity move from category to category while time passes; return at once.

        Each step sets the category, the stage and win likelihood that go with it, and ``updated_at``.

        :param uuid: its UUID
        :param categories: where to, in this order
        :param every: seconds before the first step and between two
        :raises KeyError: if there is no such opportunity
        :raises ValueError: if ChartMogul has no such category, or the time is negative or not finite
        """
        if not math.isfinite(every) or every < 0:
            raise ValueError(f"every: {every} is not a number of seconds.")
        self._account.schedule(uuid, [ForecastCategory(category) for category in categories], every)

    def inject_fault(self, fault: Fault) -> Fault:
        """
        Let requests fail from now on, after the faults that were added before.

        :param fault: how, which and how often
        :return: the same
        """
        self._faults.add(fault)
        return fault

    def clear_faults(self) -> None:
        """Let no request fail any more."""
        self._faults.clear()

    @property
    def requests(self) -> list[RecordedRequest]:
        """Copies of the latest 100,000 requests, in the order they came."""
        return self._log.all()

    def clear_requests(self) -> None:
        """Forget the requests that came so far."""
        self._log.clear()


class _Server:
    """One life of the server, from start to stop."""

    def __init__(self, application: Web, listener: socket.socket) -> None:
        self._web = application
        self._listener = listener
        self._loop = asyncio.SelectorEventLoop()
        self._stopping = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chartmogul-sandbox", daemon=True)
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        async with self._web.served_on(self._listener):
            self._ready.set()
            await self._stopping.wait()

"""The public class: a server in a thread, and methods to control its account, faults and limits."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.sandbox._access import ApiKeys, RequestLimits
from airflow_provider_chartmogul.sandbox._account import Account
from airflow_provider_chartmogul.sandbox._api import Api
from airflow_provider_chartmogul.sandbox._faults import Fault, FaultQueue
from airflow_provider_chartmogul.sandbox._http_app import HttpApp

if TYPE_CHECKING:
    from types import TracebackType

    from airflow_provider_chartmogul.sandbox._messages import RecordedRequest

_HOST = "127.0.0.1"
_MAX_RECORDED_REQUESTS = 100_000


class Sandbox:
    """
    A ChartMogul account with its API on 127.0.0.1, served by a thread.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. All methods are thread-safe.

    :param port: port to listen on; 0 for any free port
    :param api_key: the key with all permissions
    :param opportunities: number of opportunities at the start
    :param seed: of their generator; the same seed generates the same opportunities
    :param requests_per_second: accepted requests in any second, above which the response is 429; None for no limit
    :param max_connections: requests in flight, above which the response is 503; None for no limit
    :param latency: seconds that each response takes
    :param list_latency: seconds that a page of the list takes; None for ``latency``
    :raises ValueError: if the key is not printable ASCII without a colon
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
        list_latency: float | None = None,
    ) -> None:
        self._port = port
        self._keys = ApiKeys(api_key)
        self._account = Account(opportunities=opportunities, seed=seed)
        self._faults = FaultQueue()
        self._requests: deque[RecordedRequest] = deque(maxlen=_MAX_RECORDED_REQUESTS)
        self._app = HttpApp(
            api=Api(self._account),
            keys=self._keys,
            limits=RequestLimits(requests_per_second=requests_per_second, max_connections=max_connections),
            faults=self._faults,
            requests=self._requests,
            latency=latency,
            list_latency=latency if list_latency is None else list_latency,
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
        Start the server, after a :meth:`stop` on the same port as before.

        :raises OSError: if the port is in use
        :raises RuntimeError: if the server is running
        """
        if self._server is not None:
            raise RuntimeError(f"The sandbox is already running on {self.url}.")
        listener = socket.create_server((_HOST, self._port))
        self._port = listener.getsockname()[1]
        self._server = _Server(self._app, listener)

    def stop(self) -> None:
        """Close the port and all connections. The account is kept for another :meth:`start`."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; 0 before the first start unless a port was given."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL, without ``/v1``."""
        return f"http://{_HOST}:{self._port}"

    @property
    def api_key(self) -> str:
        """The key with all permissions."""
        return self._keys.full

    @property
    def read_only_api_key(self) -> str:
        """A key that may not create, update or delete."""
        return self._keys.read_only

    @property
    def seatless_api_key(self) -> str:
        """A key of a user without a CRM seat, for ping and account only."""
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
        Replace the key with all permissions; the old one is rejected from now on.

        :param api_key: the new key
        :raises ValueError: if it is not printable ASCII without a colon
        """
        self._keys.full = api_key

    @property
    def opportunities(self) -> list[dict[str, Any]]:
        """Copies of all opportunities, as the API returns them, newest first."""
        return self._account.all()

    @property
    def open_opportunity_uuids(self) -> list[str]:
        """The UUIDs of the opportunities that are neither won nor lost, newest first."""
        return self._account.open_uuids()

    def opportunity(self, uuid: str) -> dict[str, Any]:
        """
        Return a copy of an opportunity, as the API returns it.

        :param uuid: its UUID
        :raises KeyError: if it does not exist
        """
        return self._account.get(uuid)

    def add_opportunity(self, **fields: Any) -> dict[str, Any]:
        """
        Add an opportunity.

        :param fields: fields of the API's response, stored without validation; defaults fill the rest
        :raises ValueError: if the ``uuid`` exists
        :return: a copy of it
        """
        return self._account.add(fields)

    def set_opportunity(self, uuid: str, **fields: Any) -> dict[str, Any]:
        """
        Change an opportunity.

        :param uuid: its UUID
        :param fields: fields of the API's response, stored without validation; ``updated_at`` is set to the
            current time unless given
        :raises KeyError: if it does not exist
        :return: a copy of it
        """
        return self._account.change(uuid, fields)

    def remove_opportunity(self, uuid: str) -> None:
        """
        Delete an opportunity.

        :param uuid: its UUID
        :raises KeyError: if it does not exist
        """
        self._account.remove(uuid)

    def advance(self, uuid: str, *categories: str, every: float) -> None:
        """
        Schedule changes of an opportunity's forecast category, and return immediately.

        Each change sets the category, its stage and win likelihood, and ``updated_at``.

        :param uuid: its UUID
        :param categories: the forecast categories, in order
        :param every: seconds before each change
        :raises KeyError: if it does not exist
        :raises ValueError: if a category is unknown, or ``every`` is negative or not finite
        """
        if not math.isfinite(every) or every < 0:
            raise ValueError(f"every: {every} is not a number of seconds.")
        self._account.schedule(uuid, [ForecastCategory(category) for category in categories], every)

    def inject_fault(self, fault: Fault) -> Fault:
        """
        Inject a fault into matching requests, after the faults injected before.

        :param fault: its effect, the matching requests and their number
        :return: the same
        """
        self._faults.add(fault)
        return fault

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    @property
    def requests(self) -> list[RecordedRequest]:
        """Copies of the latest 100,000 requests, in order of arrival."""
        return [replace(request) for request in self._requests.copy()]

    def clear_requests(self) -> None:
        """Clear the recorded requests."""
        self._requests.clear()


class _Server:
    """The server between a start and a stop."""

    def __init__(self, app: HttpApp, listener: socket.socket) -> None:
        self._app = app
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
        async with self._app.serving(self._listener):
            self._ready.set()
            await self._stopping.wait()

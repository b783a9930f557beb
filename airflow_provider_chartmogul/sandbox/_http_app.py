"""The sandbox as a web application, with latency, limits and injected faults."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

try:
    from aiohttp import web
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'The sandbox needs aiohttp: pip install "airflow-provider-chartmogul[sandbox]"', name=error.name
    ) from error

from airflow_provider_chartmogul.sandbox._messages import ApiError, RecordedRequest, Response

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import AsyncIterator

    from airflow_provider_chartmogul.sandbox._access import ApiKeys, RequestLimits
    from airflow_provider_chartmogul.sandbox._api import Api
    from airflow_provider_chartmogul.sandbox._faults import Fault, FaultQueue

# The kernel of a client that finds the backlog full tries again only after a second.
_BACKLOG = 1024
# Iterations of asyncio's event loop between accepting a connection and aiohttp's registering it.
_ITERATIONS_UNTIL_CONNECTED = 3
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_DISCONNECT_POLL_INTERVAL = 0.05
_PARTIAL_BODY = b'{"entries":[{"uuid":"4ee13ca4-e7fe-11ee-fa7f-f303abf41acc","customer_uuid":"cus_f466e33d'
# ChartMogul sends longer bodies chunked; from which length is not known.
_MAX_UNCHUNKED = 1024
_GZIP_LEVEL = 1  # the fastest; a page of 200 opportunities takes a millisecond


class _NoResponse(Exception):  # noqa: N818  # control flow: the connection ends without a complete response
    pass


class HttpApp:
    """
    Serve the API over HTTP.

    :param api: handles the requests that get that far
    :param keys: the accepted API keys
    :param limits: the account's limits
    :param faults: to inject
    :param requests: receives each request
    :param latency: seconds that each response takes, except 401, 429 and 503
    :param list_latency: the same for pages of the list
    """

    def __init__(
        self,
        *,
        api: Api,
        keys: ApiKeys,
        limits: RequestLimits,
        faults: FaultQueue,
        requests: deque[RecordedRequest],
        latency: float,
        list_latency: float,
    ) -> None:
        self._api = api
        self._keys = keys
        self._limits = limits
        self._faults = faults
        self._requests = requests
        self._latency = latency
        self._list_latency = list_latency
        self._in_flight = 0

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """
        Serve; on leaving, abort all connections in any state.

        :param listener: a bound socket
        """
        application = web.Application()
        # One route for everything: the API responds to unknown paths in its own way.
        application.router.add_route("*", "/{path:.*}", self._handle)
        application.on_response_prepare.append(_remove_server_headers)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        try:
            yield
        finally:
            # asyncio leaves a connection open that it accepts while the server closes, and its client would hang.
            asyncio.get_running_loop().remove_reader(listener)
            for _ in range(_ITERATIONS_UNTIL_CONNECTED):
                await asyncio.sleep(0)
            for connection in runner.server.connections if runner.server else ():
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        recorded = RecordedRequest(
            method=request.method,
            path=request.raw_path.partition("?")[0],
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=None,
            status=None,
            at=time.monotonic(),
        )
        self._requests.append(recorded)
        self._in_flight += 1
        try:
            body = await request.read()
            recorded.body = _json_or_none(body)
            fault = self._faults.take(recorded.method, unquote(recorded.path))
            if fault is None:
                response = await self._respond(recorded, body)
            else:
                response = await self._fail(fault, request, recorded, body)
        except _NoResponse:
            return web.Response()
        finally:
            self._in_flight -= 1
        recorded.status = response.status
        return _encode(response, recorded.headers.get("accept-encoding", ""))

    async def _respond(self, recorded: RecordedRequest, body: bytes) -> Response:
        try:
            access = self._keys.authenticate(recorded.headers.get("authorization"))
            self._limits.check(self._in_flight)
        except ApiError as error:
            return error.response
        is_list = recorded.method == "GET" and recorded.path == "/v1/opportunities"
        if latency := self._list_latency if is_list else self._latency:
            await asyncio.sleep(latency)
        return self._api.handle(access, recorded.method, recorded.path, recorded.query, body)

    async def _fail(self, fault: Fault, request: web.Request, recorded: RecordedRequest, body: bytes) -> Response:
        normal = await self._respond(recorded, body) if fault.after_acting else None
        match fault.kind:
            case "slow":
                await asyncio.sleep(fault.seconds or 0)
                return normal or await self._respond(recorded, body)
            case "hang":
                await _wait_for_disconnect(request, fault.seconds or 0)
                _close(request)
            case "truncate":
                await _send_half(request, normal or Response(200, _PARTIAL_BODY))
            case "reset":
                _reset(request)
            case _:
                return fault.response()
        raise _NoResponse


def _json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _encode(response: Response, accept_encoding: str) -> web.Response:
    headers, body = _headers(response), response.body
    is_long = len(body) > _MAX_UNCHUNKED
    if is_long:
        headers["vary"] = "Accept-Encoding"
        if "gzip" in accept_encoding.lower():
            headers["content-encoding"] = "gzip"
            body = gzip.compress(body, _GZIP_LEVEL)
    encoded = web.Response(status=response.status, body=body, headers=headers)
    if is_long:
        encoded.enable_chunked_encoding()
    return encoded


def _headers(response: Response) -> dict[str, str]:
    content_type = {} if response.content_type is None else {"content-type": response.content_type}
    return {**content_type, **response.headers}


async def _remove_server_headers(_request: web.Request, response: web.StreamResponse) -> None:
    del response.headers["Server"]
    if response.headers.get("content-type") == "application/octet-stream":
        # aiohttp's default for a body whose type the API does not send
        del response.headers["content-type"]
    if response.keep_alive:
        response.headers["connection"] = "keep-alive"


async def _wait_for_disconnect(request: web.Request, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while request.transport is not None and time.monotonic() < deadline:  # aiohttp has no event for it
        await asyncio.sleep(_DISCONNECT_POLL_INTERVAL)


async def _send_half(request: web.Request, response: Response) -> None:
    stream = web.StreamResponse(status=response.status, headers=_headers(response))
    stream.content_length = len(response.body)
    await stream.prepare(request)
    await stream.write(response.body[: len(response.body) // 2])
    _close(request)


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


def _reset(request: web.Request) -> None:
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        request.transport.abort()

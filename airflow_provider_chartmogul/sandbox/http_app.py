"""The sandbox on the network: requests counted, recorded and, where told so, answered wrongly."""

from __future__ import annotations

import asyncio
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

from airflow_provider_chartmogul.sandbox.request_log import RecordedRequest
from airflow_provider_chartmogul.sandbox.responses import Answer, ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_chartmogul.sandbox.api import Api
    from airflow_provider_chartmogul.sandbox.auth import Keys
    from airflow_provider_chartmogul.sandbox.faults import Fault, FaultQueue
    from airflow_provider_chartmogul.sandbox.rate_limit import Limits
    from airflow_provider_chartmogul.sandbox.request_log import RequestLog

# A connection that does not fit is tried again by the client's kernel a second later.
_BACKLOG = 1024
# Turns of asyncio's event loop from the acceptance of a connection until aiohttp knows of it.
_TURNS_UNTIL_CONNECTED = 3
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_LOOK_FOR_DISCONNECT_EVERY = 0.05
_PART_OF_AN_ANSWER = b'{"entries":[{"uuid":"4ee13ca4-e7fe-11ee-fa7f-f303abf41acc","customer_uuid":"cus_f466e33d'


class _Cut(Exception):  # noqa: N818  # no error: the client is to be left without an answer
    pass


class Web:
    """
    Answer requests over HTTP.

    :param latency: seconds that every answer takes, refusals for bad keys and exceeded limits excepted
    """

    def __init__(
        self, *, api: Api, keys: Keys, limits: Limits, faults: FaultQueue, log: RequestLog, latency: float
    ) -> None:
        self._api = api
        self._keys = keys
        self._limits = limits
        self._faults = faults
        self._log = log
        self._latency = latency
        self._under_way = 0

    @asynccontextmanager
    async def served_on(self, listener: socket.socket) -> AsyncIterator[None]:
        """
        Serve, and at the end close all connections, whatever their state.

        :param listener: a bound socket
        """
        application = web.Application()
        # One route for everything: the API answers a path it does not have in its own way.
        application.router.add_route("*", "/{path:.*}", self._handle)
        application.on_response_prepare.append(_leave_only_the_headers_of_the_api)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        try:
            yield
        finally:
            # asyncio leaves a connection open that it accepts while the server is closed, and the client waits in vain.
            asyncio.get_running_loop().remove_reader(listener)
            for _ in range(_TURNS_UNTIL_CONNECTED):
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
        self._log.add(recorded)
        self._under_way += 1
        try:
            body = await request.read()
            recorded.body = _json_or_none(body)
            fault = self._faults.take(recorded.method, unquote(recorded.path))
            if fault is None:
                answer = await self._answer(recorded, body)
            else:
                answer = await self._fail(fault, request, recorded, body)
        except _Cut:
            return web.Response()
        finally:
            self._under_way -= 1
        recorded.status = answer.status
        return web.Response(status=answer.status, body=answer.body, headers=_headers(answer))

    async def _answer(self, recorded: RecordedRequest, body: bytes) -> Answer:
        try:
            access = self._keys.access(recorded.headers.get("authorization"))
            self._limits.admit(self._under_way)
        except ApiError as refusal:
            return refusal.answer
        if self._latency:
            await asyncio.sleep(self._latency)
        return self._api.answer(access, recorded.method, recorded.path, recorded.query, body)

    async def _fail(self, fault: Fault, request: web.Request, recorded: RecordedRequest, body: bytes) -> Answer:
        normal = await self._answer(recorded, body) if fault.after_acting else None
        match fault.kind:
            case "slow":
                await asyncio.sleep(fault.seconds or 0)
                return normal or await self._answer(recorded, body)
            case "hang":
                await _wait_for_disconnect(request, fault.seconds or 0)
                _close(request)
            case "truncate":
                await _send_half(request, normal or Answer(200, _PART_OF_AN_ANSWER))
            case "reset":
                _reset(request)
            case _:
                return fault.answer()
        raise _Cut


def _json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _headers(answer: Answer) -> dict[str, str]:
    content_type = {} if answer.content_type is None else {"content-type": answer.content_type}
    return {**content_type, **answer.headers}


async def _leave_only_the_headers_of_the_api(_request: web.Request, response: web.StreamResponse) -> None:
    del response.headers["Server"]
    if response.headers.get("content-type") == "application/octet-stream":
        # aiohttp's guess where the API leaves it out
        del response.headers["content-type"]
    if response.keep_alive:
        response.headers["connection"] = "keep-alive"


async def _wait_for_disconnect(request: web.Request, seconds: float) -> None:
    until = time.monotonic() + seconds
    while request.transport is not None and time.monotonic() < until:  # aiohttp has no event for it
        await asyncio.sleep(_LOOK_FOR_DISCONNECT_EVERY)


async def _send_half(request: web.Request, answer: Answer) -> None:
    response = web.StreamResponse(status=answer.status, headers=_headers(answer))
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    _close(request)


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


def _reset(request: web.Request) -> None:
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        request.transport.abort()

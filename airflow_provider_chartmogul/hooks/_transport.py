"""
A total deadline for each exchange and a size limit for its response, which requests and urllib3 do not offer.

Their timeouts apply to each socket read, so a server that sends a byte now and then blocks a thread forever; and they
decompress without a limit. Only name resolution cannot be interrupted; the operating system's timeouts apply to it.
"""

from __future__ import annotations

import functools
import io
import socket
import time
import zlib
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any

import requests
from urllib3.connection import HTTPConnection as Urllib3Connection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_RESPONSE_SIZE = 32 * 1024 * 1024
"""
Bytes of a response, compressed or not. A page of 200 opportunities has about 120 KB; this leaves 160 KB for each of 200
entries, and bounds ten concurrent responses to 320 MB.
"""

_HEADERS_SIZE = 1024 * 1024  # bytes on top of the body's: headers, and the framing of chunks
_PART_SIZE = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS


class ResponseTooLargeError(Exception):
    """A response is larger than :data:`MAX_RESPONSE_SIZE`."""

    def __str__(self) -> str:
        return f"the response is larger than {MAX_RESPONSE_SIZE >> 20} MB"


class UnknownEncodingError(Exception):
    """A response has an encoding that was not requested, or does not match its Content-Encoding."""


class Exchange:
    """
    One request and its response.

    :param seconds: total timeout
    """

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self.has_sent = False
        """Whether any part of the request may have reached the server."""

    @property
    def seconds_left(self) -> float:
        """
        Return the seconds until the deadline.

        :raises TimeoutError: if none are left
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


_current: ContextVar[Exchange | None] = ContextVar("chartmogul_exchange", default=None)


@contextmanager
def bounded(seconds: float) -> Iterator[Exchange]:
    """Apply the limits to the request sent inside the block; its response may be read outside."""
    exchange = Exchange(seconds)
    token = _current.set(exchange)
    try:
        yield exchange
    finally:
        _current.reset(token)


class Session(requests.Session):
    """A session that never follows a redirect, which could lead to another host."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return None; requests would parse the target even if redirects are disabled."""
        return None


class Adapter(requests.adapters.HTTPAdapter):
    """Send requests over connections that enforce the limits."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return a pool of such connections."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _bounded_class(pool.ConnectionCls)
        return pool


@functools.cache
def _bounded_class(connection_class: type[HTTPConnection]) -> type[HTTPConnection]:
    """Derive the class dynamically, since there are classes for http, https and proxies."""
    if issubclass(connection_class, _BoundedConnection):
        return connection_class
    return type(f"Bounded{connection_class.__name__}", (_BoundedConnection, connection_class), {})


class _BoundedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        if exchange := _current.get():
            raw = self.fp.detach()
            self.fp = io.BufferedReader(_BoundedReader(raw, sock, exchange))


class _BoundedReader(io.RawIOBase):
    def __init__(self, raw: Any, sock: socket.socket, exchange: Exchange) -> None:
        self._raw = raw
        self._sock = sock
        self._exchange = exchange
        self._left = MAX_RESPONSE_SIZE + _HEADERS_SIZE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._exchange.seconds_left)
        count: int | None = self._raw.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise ResponseTooLargeError
        return count

    def fileno(self) -> int:
        return self._raw.fileno()  # type: ignore[no-any-return]  # a raw stream of a socket

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedConnection(Urllib3Connection):
    response_class = _BoundedResponse

    def _new_conn(self) -> socket.socket:
        exchange = _current.get()
        if exchange is None:
            return super()._new_conn()
        # urllib3 applies the whole timeout to each address of a name, so it gets one address at a time.
        host, failure = self._dns_host, None
        try:
            for address in self._addresses():
                self._dns_host, self.timeout = address, exchange.seconds_left
                try:
                    sock = super()._new_conn()
                except (NewConnectionError, ConnectTimeoutError) as error:
                    failure = error
                else:
                    try:
                        sock.settimeout(exchange.seconds_left)
                    except TimeoutError:
                        sock.close()
                        raise
                    return sock
        finally:
            self._dns_host = host
        raise failure or NewConnectionError(self, f"no address for {host}")

    def _addresses(self) -> list[str]:
        if hasattr(self, "_socks_options"):  # the proxy resolves the name
            return [self._dns_host]
        try:
            found = socket.getaddrinfo(self._dns_host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, f"cannot resolve {self._dns_host}") from error
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """Connect, then send the request, so that a failure can be attributed to one of the two."""
        if exchange := _current.get():
            if self.sock is None:
                self.connect()
            self.sock.settimeout(exchange.seconds_left)
            exchange.has_sent = True
        super().endheaders(*args, **kwargs)


def read_body(response: requests.Response) -> bytes:
    """
    Read a response to its end.

    :raises ResponseTooLargeError: as soon as it exceeds the limit
    :raises UnknownEncodingError: if it is neither gzip nor plain
    :raises EOFError: if its compressed data ends early
    """
    if int(response.headers.get("Content-Length") or 0) > MAX_RESPONSE_SIZE:
        raise ResponseTooLargeError
    body = bytearray()
    for part in _decoded_parts(response):
        body += part
        if len(body) > MAX_RESPONSE_SIZE:
            raise ResponseTooLargeError
    response.raw.release_conn()
    return bytes(body)


def read_beginning(response: requests.Response) -> bytes:
    """Read as much as possible of an error response."""
    body = bytearray()
    try:
        for part in _decoded_parts(response):
            body += part
            if len(body) >= _PART_SIZE:
                return bytes(body[:_PART_SIZE])
    except Exception:  # noqa: BLE001  # the status is the error
        return bytes(body)
    response.raw.release_conn()
    return bytes(body)


def _decoded_parts(response: requests.Response) -> Iterator[bytes]:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    parts = response.raw.stream(_PART_SIZE, decode_content=False)
    if encoding in ("identity", ""):
        yield from parts
    elif encoding in ("gzip", "x-gzip"):
        yield from _gunzip(parts)
    else:
        raise UnknownEncodingError(f"encoded as {encoding[:20]!r}")


def _gunzip(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress in steps of limited size, since a kilobyte can become a megabyte."""
    decoder = None
    for part in parts:
        data = part
        while data:
            if decoder is None or decoder.eof:  # a file may have several members
                decoder = zlib.decompressobj(_GZIP)
            try:
                yield (plain := decoder.decompress(data, _PART_SIZE))
                while len(plain) == _PART_SIZE:
                    yield (plain := decoder.decompress(decoder.unconsumed_tail, _PART_SIZE))
            except zlib.error:
                raise UnknownEncodingError("not gzip, as its header says") from None
            data = decoder.unused_data.lstrip(b"\0")
    if decoder is not None and not decoder.eof:
        raise EOFError("the compressed data ends early")

"""Deadlines and size limits of responses, and failures of connections."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import socket
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAuthenticationError,
    ChartMogulError,
    ChartMogulInvalidResponseError,
    ChartMogulUnavailableError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.hooks import _transport
from tests.hooks.conftest import SHORT_TIMEOUT as TIMEOUT
from tests.support.raw_server import PONG, RawServer, full_listener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook


OK = b"HTTP/1.1 200 OK\r\n"


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def body(content: bytes, *headers: bytes, status: bytes = b"200 OK") -> list[bytes]:
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(content), *headers, b"", content]
    return [b"\r\n".join(lines)]


DRIPS: dict[str, list[bytes]] = {
    "status line": [],
    "headers": [OK],
    "continue": [b"HTTP/1.1 100 Continue\r\n\r\n"],
    "body": [OK, b"content-length: 100000\r\n\r\n"],
    "body without length": [OK, b"connection: close\r\n\r\n"],
    "chunk size": [OK, b"transfer-encoding: chunked\r\n\r\n"],
    "gzip": [OK, b"content-encoding: gzip\r\ncontent-length: 100000\r\n\r\n", _gzip(b"x" * 10)[:12]],
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_response_that_drips_ends_at_the_timeout(name: str, hook: Callable[..., ChartMogulHook]) -> None:
    drop = b"HTTP/1.1 100 Continue\r\n\r\n" if name == "continue" else b"1"
    with RawServer(lambda _: itertools.chain(DRIPS[name], itertools.repeat(drop)), pause=TIMEOUT / 6) as server:
        made = hook(f"http://{server.address}")
        started = time.monotonic()
        with pytest.raises(
            ChartMogulUnreachableError, match=r"no response from http://127.*: timed out after 0\.3 s \(connection: "
        ):
            made.request("GET", "ping")
        assert TIMEOUT <= time.monotonic() - started < 5 * TIMEOUT


def test_a_timeout_counts_for_all_steps_together(hook: Callable[..., ChartMogulHook]) -> None:
    parts = [OK, b"content-length: 2\r\n", b"\r\n", b"{", b"}"]
    with RawServer(lambda _: parts, pause=0.4 * TIMEOUT) as server:
        with pytest.raises(ChartMogulUnreachableError, match="timed out after"):
            hook(f"http://{server.address}").request("GET", "ping")
        assert hook(f"http://{server.address}", timeout=20).request("GET", "ping") == {}


def test_a_handshake_that_never_ends_ends_at_the_timeout(hook: Callable[..., ChartMogulHook]) -> None:
    with RawServer(lambda _: []) as server:
        started = time.monotonic()
        with pytest.raises(ChartMogulUnreachableError, match="timed out after") as failure:
            hook(f"https://{server.address}").request("POST", "opportunities", json={})
        assert time.monotonic() - started < 10 * TIMEOUT
    assert not failure.value.may_have_acted


def test_a_proxy_that_drips_ends_at_the_timeout(
    hook: Callable[..., ChartMogulHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(lambda _: itertools.chain([OK], itertools.repeat(b"x")), pause=TIMEOUT / 6) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
        started = time.monotonic()
        with pytest.raises(ChartMogulUnreachableError, match="through the proxy of https_proxy: timed out after"):
            hook("https://chartmogul.invalid").request("GET", "ping")
        assert time.monotonic() - started < 10 * TIMEOUT


def test_all_addresses_of_a_host_share_the_timeout(
    hook: Callable[..., ChartMogulHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo
    addresses = [f"127.0.0.{number}" for number in range(2, 8)]
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(full_listener(addresses[0]))
        for address in addresses[1:]:
            stack.enter_context(full_listener(address, port))

        def all_addresses(host: str, *args: Any, **options: Any) -> Any:
            hosts = addresses if host == "localhost" else (host,)
            return [found for host in hosts for found in resolve(host, *args, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", all_addresses)
        made = hook(f"http://localhost:{port}")
        started = time.monotonic()
        with pytest.raises(ChartMogulUnreachableError, match="timed out after") as failure:
            made.request("POST", "opportunities", json={})
        assert TIMEOUT <= time.monotonic() - started < 4 * TIMEOUT
    assert not failure.value.may_have_acted


def test_the_second_address_of_a_host_is_tried_where_the_first_refuses(
    hook: Callable[..., ChartMogulHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def two_addresses(host: str, *args: Any, **options: Any) -> Any:
        hosts = ("127.0.0.2", "127.0.0.1") if host == "localhost" else (host,)
        return [found for host in hosts for found in resolve(host, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    with RawServer(lambda _: [PONG]) as server:
        made = hook(f"http://localhost:{server.address.rpartition(':')[2]}")
        assert [made.request("GET", "ping") for _ in range(2)] == [{"data": "pong!"}] * 2
    assert len(server.connections) == 1
    assert all(b"host: localhost:" in request.lower() for request in server.requests)


def test_a_name_without_an_address_is_reported_and_nothing_was_sent(
    hook: Callable[..., ChartMogulHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(ChartMogulUnreachableError, match=r"chartmogul\.invalid: Name or service not known") as failure:
        hook("https://chartmogul.invalid").request("POST", "opportunities", json={})
    assert not failure.value.may_have_acted


ENDLESS: dict[str, tuple[list[bytes], bytes]] = {
    "length": ([OK, b"content-length: 1000000000000\r\n\r\n"], b"x" * 65536),
    "no length": ([OK, b"connection: close\r\n\r\n"], b"x" * 65536),
    "chunks": ([OK, b"transfer-encoding: chunked\r\n\r\n"], b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    "chunk size": ([OK, b"transfer-encoding: chunked\r\n\r\n"], b"1" * 65536),
    "continue": ([], b"HTTP/1.1 100 Continue\r\nx: " + b"x" * 60_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_response_without_end_is_cut_off(name: str, hook: Callable[..., ChartMogulHook]) -> None:
    head, part = ENDLESS[name]
    with (
        RawServer(lambda _: itertools.chain(head, itertools.repeat(part))) as server,
        pytest.raises(ChartMogulError, match=r"the response is larger than 32 MB|line exceeded maximum") as failure,
    ):
        hook(f"http://{server.address}", timeout=60).request("POST", "opportunities", json={})
    assert failure.value.may_have_acted


def test_a_response_that_announces_too_much_is_refused_before_it_arrives(hook: Callable[..., ChartMogulHook]) -> None:
    with (
        RawServer(lambda _: [OK, b"content-length: 1000000000000\r\n\r\n"]) as server,
        pytest.raises(ChartMogulInvalidResponseError, match="the response is larger than 32 MB"),
    ):
        hook(f"http://{server.address}").request("GET", "ping")


@pytest.mark.parametrize("members", [1, 40])
def test_a_small_response_that_decompresses_to_gigabytes_takes_neither_memory_nor_time(
    members: int, hook: Callable[..., ChartMogulHook]
) -> None:
    bomb = _gzip(b"0" * (64 * 1024 * 1024)) * members
    with RawServer(lambda _: body(bomb, b"content-encoding: gzip")) as server:
        made = hook(f"http://{server.address}", timeout=60)
        made.get_conn()
        tracemalloc.start()
        try:
            with pytest.raises(ChartMogulInvalidResponseError, match="the response is larger than 32 MB"):
                made.request("GET", "ping")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 3 * 32 * 1024 * 1024


def test_a_response_of_the_largest_size_is_read(hook: Callable[..., ChartMogulHook]) -> None:
    content = b'"' + b"x" * (32 * 1024 * 1024 - 2) + b'"'
    packed = _gzip(content)
    with RawServer(
        lambda request: body(packed, b"content-encoding: gzip") if b"/a " in request else body(content)
    ) as server:
        made = hook(f"http://{server.address}", timeout=60)
        assert len(made.request("GET", "a")) == len(made.request("GET", "b")) == len(content) - 2


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (_gzip(b'{"a":1}'), b"gzip"),
        (_gzip(b'{"a":1}'), b"X-GZIP"),
        (_gzip(b'{"a"') + _gzip(b":1}"), b"gzip"),
        (_gzip(b'{"a":1}') + b"\0" * 100, b"gzip"),
        (_gzip(b'{"a":1' + b" " * 300_000 + b"}"), b"gzip"),
        (b'{"a":1}', b"identity"),
        (b'{"a":1}', b""),
    ],
)
def test_what_is_encoded_as_requested_is_read(
    content: bytes, encoding: bytes, hook: Callable[..., ChartMogulHook]
) -> None:
    with RawServer(lambda _: body(content, b"content-encoding: " + encoding)) as server:
        assert hook(f"http://{server.address}").request("GET", "ping") == {"a": 1}
    assert b"\r\naccept-encoding: gzip\r\n" in server.requests[0].lower()


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b'{"a":1}', b"gzip", "not gzip, as its header says"),
        (b'{"a":1}', b"br", "encoded as 'br'"),
        (_gzip(_gzip(b"{}")), b"gzip, gzip", "encoded as 'gzip, gzip'"),
    ],
)
def test_what_is_encoded_otherwise_is_refused(
    content: bytes, encoding: bytes, message: str, hook: Callable[..., ChartMogulHook]
) -> None:
    with (
        RawServer(lambda _: body(content, b"content-encoding: " + encoding)) as server,
        pytest.raises(ChartMogulInvalidResponseError, match=message),
    ):
        hook(f"http://{server.address}").request("GET", "ping")


def test_compressed_data_that_ends_early_is_no_response(hook: Callable[..., ChartMogulHook]) -> None:
    with (
        RawServer(lambda _: body(_gzip(b'{"a":1}')[:-4], b"content-encoding: gzip")) as server,
        pytest.raises(ChartMogulUnreachableError, match="the compressed data ends early"),
    ):
        hook(f"http://{server.address}").request("GET", "ping")


def test_a_status_that_says_what_is_wrong_does_not_wait_for_the_end_of_its_text(
    hook: Callable[..., ChartMogulHook],
) -> None:
    failed = b"HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\n"
    with (
        RawServer(lambda _: itertools.chain([failed], itertools.repeat(b"broken " * 10_000))) as server,
        pytest.raises(ChartMogulUnavailableError, match="HTTP 500: broken broken"),
    ):
        hook(f"http://{server.address}", timeout=60).request("GET", "ping")
    rejected = [b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 1000\r\n\r\n{"]
    with (
        RawServer(lambda _: rejected) as server,
        pytest.raises(
            ChartMogulAuthenticationError,
            match=r"HTTP 401: no message \(connection: chartmogul_default\)\. Check the API key",
        ),
    ):
        hook(f"http://{server.address}").request("GET", "ping")


def test_an_error_text_in_any_encoding_is_read(hook: Callable[..., ChartMogulHook]) -> None:
    with (
        RawServer(lambda _: body("geschlossen: ä".encode("latin-1"), status=b"503 Unavailable")) as server,
        pytest.raises(ChartMogulUnavailableError, match="HTTP 503: geschlossen: \ufffd"),
    ):
        hook(f"http://{server.address}").request("GET", "ping")


def test_any_status_from_200_to_299_is_a_success(hook: Callable[..., ChartMogulHook]) -> None:
    with RawServer(lambda _: [PONG.replace(b"200", b"299")]) as server:
        assert hook(f"http://{server.address}").request("GET", "ping") == {"data": "pong!"}


def test_a_status_of_300_is_no_success(hook: Callable[..., ChartMogulHook]) -> None:
    with (
        RawServer(lambda _: body(b"{}", status=b"300 Multiple Choices")) as server,
        pytest.raises(ChartMogulInvalidResponseError, match="HTTP 300: the API documents no such response"),
    ):
        hook(f"http://{server.address}").request("GET", "ping")


@pytest.mark.parametrize("location", [b"http://[::1", b"//", b"\xff\xfe", b"http://example.com:port/"])
def test_a_redirect_to_what_is_no_address_is_an_error_like_any_redirect(
    location: bytes, hook: Callable[..., ChartMogulHook]
) -> None:
    with (
        RawServer(lambda _: body(b"", b"location: " + location, status=b"302 Found")) as server,
        pytest.raises(ChartMogulInvalidResponseError, match=r"HTTP 302: .*redirects are not followed"),
    ):
        hook(f"http://{server.address}").request("GET", "ping")


def test_a_connection_stays_open_after_each_kind_of_complete_response(hook: Callable[..., ChartMogulHook]) -> None:
    responses = iter(
        [
            [PONG],
            body(_gzip(b'{"a":1}'), b"content-encoding: gzip"),
            [OK, b"transfer-encoding: chunked\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"],
            [b"HTTP/1.1 204 No Content\r\n\r\n"],
            body(b"", status=b"200 OK"),
            body(b'{"message":"missing"}', status=b"400 Bad Request"),
            [PONG],
        ]
    )
    with RawServer(lambda _: next(responses)) as server:
        made = hook(f"http://{server.address}", timeout=20)
        expected = [{"data": "pong!"}, {"a": 1}, {}, None, None]
        assert [made.request("GET", "ping") for _ in expected] == expected
        with pytest.raises(ChartMogulError, match="missing"):
            made.request("GET", "ping")
        assert made.request("GET", "ping") == {"data": "pong!"}
        assert len(server.requests) == 7
        assert len(server.connections) == 1


def test_as_many_connections_stay_open_as_may_be_in_use(hook: Callable[..., ChartMogulHook]) -> None:
    together = threading.Barrier(12)

    def respond(_: bytes) -> Iterable[bytes]:
        together.wait(20)
        return [PONG]

    with RawServer(respond) as server, ThreadPoolExecutor(12) as executor:
        made = hook(f"http://{server.address}", timeout=20, max_concurrent_requests=12)
        made.get_conn()
        for _ in range(2):
            list(executor.map(lambda _: made.request("GET", "ping"), range(12)))
        assert len(server.requests) == 24
        assert len(server.connections) == 12


def test_a_users_own_request_over_the_session_is_not_bound_by_the_timeout_of_the_request_before(
    hook: Callable[..., ChartMogulHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(lambda _: [PONG]) as server:
        made = hook(f"http://{server.address}")
        made.request("GET", "ping")
        monkeypatch.setattr(_transport, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 3600))
        assert made.get_conn().get(f"http://{server.address}/v1/ping", timeout=20).json() == {"data": "pong!"}


def test_the_reason_is_that_of_the_request_and_not_of_an_error_that_is_being_handled(
    hook: Callable[..., ChartMogulHook],
) -> None:
    with RawServer(lambda _: [b""]) as server:
        made = hook(f"http://{server.address}")
    try:
        raise KeyError("somebody else's")
    except KeyError:
        with pytest.raises(ChartMogulUnreachableError, match="Connection refused"):
            made.request("GET", "ping")


def test_an_error_without_a_text_is_named_by_its_type(
    hook: Callable[..., ChartMogulHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise EOFError

    made = hook("http://127.0.0.1:9")
    monkeypatch.setattr(made.get_conn(), "request", fail)
    with pytest.raises(ChartMogulUnreachableError, match=r"no response from http://127\.0\.0\.1:9: EOFError"):
        made.request("GET", "ping")


def test_a_server_that_hangs_up_without_a_word_is_said_so(hook: Callable[..., ChartMogulHook]) -> None:
    with RawServer(lambda _: [b""]) as server:

        def hang_up(request: bytes) -> Iterable[bytes]:
            server.connections[-1].shutdown(socket.SHUT_RDWR)
            return [request]

        server.respond = hang_up
        with pytest.raises(ChartMogulUnreachableError, match="Remote end closed connection without response"):
            hook(f"http://{server.address}").request("GET", "ping")

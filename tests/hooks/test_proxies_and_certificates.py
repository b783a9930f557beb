"""Proxies and TLS: trusted authorities, deadlines, and secrets in errors."""

from __future__ import annotations

import json
import socket
import ssl
import traceback
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import urllib3.util.connection
from urllib3.connection import HTTPConnection
from urllib3.util.connection import create_connection

from airflow_provider_chartmogul.exceptions import (
    ChartMogulConfigurationError,
    ChartMogulError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.hooks import _transport
from tests.support.raw_server import PONG, RawServer, make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
    from tests.conftest import Logs

PROXY_PASSWORD = "s3cretpart"


def test_https_to_this_machine_trusts_the_authority_given_to_requests_and_uses_no_proxy(
    hook: Callable[..., ChartMogulHook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    certificate = make_certificate(tmp_path)
    with RawServer(lambda _: [PONG], certificate=certificate) as server, RawServer(lambda _: []) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
        with pytest.raises(ChartMogulUnreachableError, match="certificate verify failed") as failure:
            hook(f"https://{server.address}", timeout=20).request("POST", "opportunities", json={})
        assert "set REQUESTS_CA_BUNDLE to the file" in str(failure.value)
        assert not failure.value.may_have_acted
        for variable in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            monkeypatch.setenv(variable, str(certificate))
            made = hook(f"https://{server.address}", timeout=20, max_concurrent_requests=1)
            before = len(server.connections)
            assert [made.request("GET", "ping") for _ in range(2)] == [{"data": "pong!"}] * 2
            assert len(server.connections) == before + 1
            monkeypatch.delenv(variable)
        assert proxy.requests == []


@pytest.mark.parametrize("host", ["https://127.0.0.1:9", "https://chartmogul.invalid"])
@pytest.mark.parametrize("content", [None, b"", b"not a certificate", b"-----BEGIN CERTIFICATE-----\nx\n"])
def test_a_file_without_certificates_is_named_by_its_setting(
    content: bytes | None,
    host: str,
    hook: Callable[..., ChartMogulHook],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with RawServer(lambda _: []) as server:
        monkeypatch.setattr(socket, "getaddrinfo", _to(server, socket.getaddrinfo))
        with pytest.raises(ChartMogulConfigurationError, match=r"REQUESTS_CA_BUNDLE: .*does not exist, or holds no"):
            hook(host.replace("127.0.0.1:9", server.address), timeout=20).request("GET", "ping")


def _to(server: RawServer, resolve: Any) -> Any:
    host, port = server.address.split(":")
    return lambda *_, **options: resolve(host, int(port), **options)


PROXIES = [
    "http://user:12#{}@127.0.0.1:9",
    "http://user:12/{}@127.0.0.1:9",
    "http://user:pa#{}@127.0.0.1:9",
    "http://user:pa/{}@127.0.0.1:9",
    "http://user:pa?{}@127.0.0.1:9",
    "http://user:p@{}@127.0.0.1:9",
    "http://user:{}@127.0.0.1:9",
    "http://user:{}@127.0.0.1:port",
    "http://user:{}@[::1",
    "http://user:{}@",
    "http://user:{}@proxy .example.com:1",
    "user:{}@127.0.0.1:9",
    "ftp://user:{}@127.0.0.1:9",
    "socks5h://user:{}@127.0.0.1:9",
    "://{}",
    "http://{}",
    "http://user:{}@" + "x" * 70 + ".example.com:1",
]


@pytest.mark.parametrize(
    ("variable", "proxy"),
    [
        *(("https_proxy", proxy) for proxy in PROXIES),
        *((variable, proxy) for variable in ("HTTPS_PROXY", "all_proxy", "ALL_PROXY") for proxy in PROXIES[-3:]),
    ],
)
def test_no_part_of_a_proxys_password_is_shown_and_its_setting_is_named(
    proxy: str, variable: str, hook: Callable[..., ChartMogulHook], logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(host: str, *args: Any, **options: Any) -> Any:
        if host == "127.0.0.1":
            return resolve_truly(host, *args, **options)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolve_truly = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv(variable, proxy.format(PROXY_PASSWORD))
    with pytest.raises(ChartMogulError, match=rf"\b{variable}\b") as failure:
        hook("https://chartmogul.invalid").request("POST", "opportunities", json={})
    assert isinstance(failure.value, ChartMogulConfigurationError | ChartMogulUnreachableError)
    assert not failure.value.may_have_acted
    shown = "".join(traceback.format_exception(failure.value)) + repr(vars(failure.value)) + logs.everything
    for part in range(len(PROXY_PASSWORD) - 4):
        assert PROXY_PASSWORD[part : part + 5] not in shown


def test_the_address_of_a_proxy_without_a_host_is_a_wrong_setting(
    hook: Callable[..., ChartMogulHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@")
    with pytest.raises(ChartMogulConfigurationError, match="HTTPS_PROXY: not the address of a proxy"):
        hook("https://chartmogul.invalid").request("GET", "ping")


def test_the_key_goes_through_a_proxy_in_the_tunnel_only(
    hook: Callable[..., ChartMogulHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"]
    with RawServer(lambda _: refused) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
        with pytest.raises(ChartMogulUnreachableError, match="Tunnel connection failed: 407 Proxy Auth") as failure:
            hook("https://chartmogul.invalid").request("POST", "opportunities", json={"a": 1})
    assert not failure.value.may_have_acted
    assert all(b"authorization: basic" not in request.lower() for request in proxy.requests)
    assert json.dumps({"a": 1}).encode() not in b"".join(proxy.requests)


def test_each_step_gets_the_time_that_the_steps_before_it_left(
    hook: Callable[..., ChartMogulHook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    timeouts: dict[str, float | None] = {}
    connect, handshake, send = create_connection, ssl.SSLContext.wrap_socket, HTTPConnection.send

    def connect_slowly(*args: Any, **options: Any) -> socket.socket:
        nonlocal now
        now += 5
        return connect(*args, **options)

    def shake_hands_slowly(context: ssl.SSLContext, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        nonlocal now
        if not options.get("server_side"):
            timeouts["handshake"] = sock.gettimeout()
            now += 5
        return handshake(context, sock, *args, **options)

    def record_and_send(connection: HTTPConnection, data: Any) -> None:
        timeouts["request"] = connection.sock.gettimeout()
        send(connection, data)

    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(_transport, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(urllib3.util.connection, "create_connection", connect_slowly)
    monkeypatch.setattr(HTTPConnection, "send", record_and_send)
    with RawServer(lambda _: [PONG], certificate=certificate) as server:
        monkeypatch.setattr(ssl.SSLContext, "wrap_socket", shake_hands_slowly)
        made = hook(f"https://{server.address}", timeout=20)
        assert made.request("GET", "ping") == {"data": "pong!"}
    assert timeouts == {"handshake": 15, "request": 10}


def test_a_name_is_resolved_by_a_socks_proxy() -> None:
    class SocksConnection(HTTPConnection):
        _socks_options = True
        hosts: ClassVar[list[str]] = []

        def _new_conn(self) -> socket.socket:
            self.hosts.append(self._dns_host)
            return socket.socket()

    connection: Any = _transport._bounded_class(SocksConnection)("chartmogul.invalid", 443)
    with _transport.bounded(1), connection._new_conn():
        assert SocksConnection.hosts == ["chartmogul.invalid"]

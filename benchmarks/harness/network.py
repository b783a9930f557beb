"""Servers that answer from memory, and a network in front of them whose round trips take time."""

from __future__ import annotations

import asyncio
import multiprocessing
import ssl
from collections import deque
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Self, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

HOST = "127.0.0.1"


class AnsweringServer:
    """
    A server in a process of its own, which answers faster than any client asks.

    :param make_answer: called in that process; returns a function from the path and query that a request names to the
        JSON that answers it
    :param round_trip: seconds from sending something to the arrival of what is sent back at once
    :param certificate: for TLS: a file with a certificate for 127.0.0.1 and its key
    """

    def __init__(
        self,
        make_answer: Callable[[], Callable[[str], bytes]],
        *,
        round_trip: float = 0.0,
        certificate: Path | None = None,
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._scheme = "https" if certificate else "http"
        self._pipe, servers_end = spawn.Pipe()
        arguments = (servers_end, make_answer, round_trip, certificate)
        self._process = spawn.Process(target=_serve, args=arguments, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self.url = f"{self._scheme}://{HOST}:{self._pipe.recv()}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


class _Answering(asyncio.Protocol):
    def __init__(self, answer: Callable[[str], bytes]) -> None:
        self._answer = answer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            body = self._answer(head.split(b" ", 2)[1].decode())
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            self._transport.write(head + body)


class _SlowLine(asyncio.Protocol):
    """One direction of a connection, on which everything arrives some time after it was sent."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._under_way: deque[bytes] = deque()
        self._opened_at = 0.0
        self.to: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._under_way.append(data)
        loop = asyncio.get_running_loop()
        loop.call_at(max(loop.time(), self._opened_at) + self._seconds, self._arrive)

    def _arrive(self) -> None:
        if self.to is not None:
            self.to.write(self._under_way.popleft())

    def connection_lost(self, error: Exception | None) -> None:
        if self.to is not None:
            self.to.close()


class _FarAway(_SlowLine):
    """The client's end of a network in which, as in TCP, opening a connection takes a round trip."""

    def __init__(self, port: int, round_trip: float) -> None:
        super().__init__(round_trip / 2)
        self._port = port
        self._round_trip = round_trip

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opened_at = asyncio.get_running_loop().time() + self._round_trip
        self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        back = _SlowLine(self._seconds)
        back.to = self.transport
        self.to, _ = await asyncio.get_running_loop().create_connection(lambda: back, HOST, self._port)


def _serve(
    pipe: Connection, make_answer: Callable[[], Callable[[str], bytes]], round_trip: float, certificate: Path | None
) -> None:
    answer = make_answer()
    tls = None
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Answering(answer), HOST, 0, ssl=tls)
        near = server.sockets[0].getsockname()[1]
        network = await loop.create_server(lambda: _FarAway(near, round_trip), HOST, 0)
        far = network.sockets[0].getsockname()[1]
        pipe.send(far if round_trip else near)
        await server.serve_forever()

    asyncio.run(run())


def write_certificate(path: Path) -> None:
    """Write a certificate for 127.0.0.1 that signs itself, good for a day, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )

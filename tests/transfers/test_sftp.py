"""Exports to a local SFTP server without a shell, through an Airflow connection and file system."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncssh
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from asyncssh.sftp import SFTPServerHandler

from airflow_provider_chartmogul.sandbox import Sandbox
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST_WRITE = 256 * 1024  # above which OpenSSH disconnects


class Disk(asyncssh.SFTPServer):
    """A folder that records the sizes of writes, and that can be full."""

    largest_write = 0
    free: int | None = None
    fails_to_rename_to: bytes | None = None

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        Disk.largest_write = max(Disk.largest_write, len(data))
        if Disk.free is not None and offset + len(data) > Disk.free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(file_obj, offset, data)  # type: ignore[return-value]

    def rename(self, oldpath: bytes, newpath: bytes) -> Any:
        if Disk.fails_to_rename_to and newpath.endswith(Disk.fails_to_rename_to):
            Disk.fails_to_rename_to = None
            raise asyncssh.SFTPFailure("cannot rename")
        return super().rename(oldpath, newpath)


class _NoPassword(asyncssh.SSHServer):
    def __init__(self, connections: list[asyncssh.SSHServerConnection]) -> None:
        self._connections = connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        return False


@pytest.fixture(scope="module")
def event_loop_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder that the server has as its root."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def url(folder: Path, event_loop_thread: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    connections: list[asyncssh.SSHServerConnection] = []

    async def stop() -> None:
        for connection in connections:
            connection.abort()
            await connection.wait_closed()
        acceptor.close()
        await acceptor.wait_closed()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: _NoPassword(connections),
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            sftp_factory=lambda channel: Disk(channel, chroot=os.fsencode(folder)),
        )

    asyncssh.set_log_level("CRITICAL")
    Disk.free, Disk.largest_write, Disk.fails_to_rename_to = None, 0, None
    acceptor = asyncio.run_coroutine_threadsafe(listen(), event_loop_thread).result()
    # Airflow caches a file system for each connection in the process.
    conn_id = f"sftp_{uuid4().hex}"
    connection = {
        "conn_type": "sftp",
        "host": "127.0.0.1",
        "port": acceptor.get_port(),
        "login": "airflow",
        "extra": {"no_host_key_check": "true"},
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    yield f"sftp://{conn_id}@127.0.0.1"
    asyncio.run_coroutine_threadsafe(stop(), event_loop_thread).result()


@pytest.fixture
def no_posix_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the POSIX rename from the server."""
    extensions = [extension for extension in SFTPServerHandler._extensions if b"posix-rename" not in extension[0]]
    assert len(extensions) < len(SFTPServerHandler._extensions)
    monkeypatch.setattr(SFTPServerHandler, "_extensions", extensions)


def export(path: str, **options: Any) -> dict[str, Any]:
    return ChartMogulToObjectStorageOperator(task_id="export", path=path, **options).execute({})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def uuids(path: Path) -> list[str]:
    return [json.loads(line)["uuid"] for line in path.read_text().splitlines()]


def test_a_file_is_written_into_new_folders_and_replaced(sandbox: Sandbox, url: str, folder: Path) -> None:
    for _ in range(2):
        result = export(f"{url}/crm/dt=2030-01-31/ö [1].jsonl")
        written = folder / "crm" / "dt=2030-01-31" / "ö [1].jsonl"
        assert uuids(written) == [opportunity["uuid"] for opportunity in sandbox.opportunities]
        assert names(written.parent) == [written.name]
        assert result["bytes"] == written.stat().st_size


@pytest.mark.usefixtures("no_posix_rename")
def test_a_server_that_cannot_rename_over_a_file_gets_it_in_steps(sandbox: Sandbox, url: str, folder: Path) -> None:
    for content in (None, "old"):
        if content:
            (folder / "o.jsonl").write_text(content)
        export(f"{url}/o.jsonl")
        assert names(folder) == ["o.jsonl"]
        assert uuids(folder / "o.jsonl") == [opportunity["uuid"] for opportunity in sandbox.opportunities]


@pytest.mark.usefixtures("no_posix_rename", "sandbox")
def test_when_the_last_step_fails_the_old_file_is_back(url: str, folder: Path) -> None:
    (folder / "o.jsonl").write_text("old")
    Disk.fails_to_rename_to = b"/o.jsonl"
    with pytest.raises(asyncssh.SFTPFailure, match="cannot rename"):
        export(f"{url}/o.jsonl")
    assert names(folder) == ["o.jsonl"]
    assert (folder / "o.jsonl").read_text() == "old"


@pytest.mark.parametrize("free", [0, 100_000])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    free: int, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "o.jsonl").write_text("old")
    Disk.free = free
    with Sandbox(opportunities=1000, requests_per_second=None) as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", sandbox.connection_json)
        with pytest.raises((OSError, asyncssh.SFTPError)):
            export(f"{url}/o.jsonl")
    assert names(folder) == ["o.jsonl"]
    assert (folder / "o.jsonl").read_text() == "old"


def test_no_write_is_larger_than_servers_take(sandbox: Sandbox, url: str, folder: Path) -> None:
    sandbox.add_opportunity(custom={"note": "x" * 1_000_000})
    export(f"{url}/o.jsonl")
    assert (folder / "o.jsonl").stat().st_size > 1_000_000
    assert 0 < Disk.largest_write <= LARGEST_WRITE


@pytest.mark.usefixtures("sandbox")
def test_mode_and_symlinks_are_kept(url: str, folder: Path) -> None:
    (folder / "there").mkdir()
    real = folder / "there" / "real.jsonl"
    real.write_text("old")
    real.chmod(0o640)
    (folder / "o.jsonl").symlink_to("there/real.jsonl")
    export(f"{url}/o.jsonl")
    assert (folder / "o.jsonl").is_symlink()
    assert len(uuids(real)) == 3
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert names(real.parent) == ["real.jsonl"]


@pytest.mark.usefixtures("sandbox")
def test_a_symlink_to_a_file_that_is_not_there_yet_is_written_through(url: str, folder: Path) -> None:
    (folder / "o.jsonl").symlink_to("later.jsonl")
    export(f"{url}/o.jsonl")
    assert (folder / "o.jsonl").is_symlink()
    assert len(uuids(folder / "later.jsonl")) == 3


@pytest.mark.parametrize("length", [200, 255])
@pytest.mark.usefixtures("sandbox")
def test_long_names_are_taken(length: int, url: str, folder: Path) -> None:
    name = "é" * ((length - 6) // 2) + "x" * (length % 2) + ".jsonl"
    export(f"{url}/{name}")
    assert names(folder) == [name]


def test_neither_a_folder_nor_a_fifo_is_replaced(sandbox: Sandbox, url: str, folder: Path) -> None:
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    for name, message in (("folder", "is a folder"), ("fifo", "is not a regular file")):
        with pytest.raises(AirflowFailException, match=message):
            export(f"{url}/{name}")
    assert sandbox.requests == []
    assert names(folder) == ["fifo", "folder"]

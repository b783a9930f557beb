"""Files on an SFTP server, through Airflow's file system for it (``sshfs``, built on ``asyncssh``)."""

from __future__ import annotations

import posixpath
import stat
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from asyncssh.sftp import SFTPError, SFTPNoSuchFile, SFTPNoSuchPath, SFTPOpUnsupported
from fsspec.asyn import sync

from airflow_provider_chartmogul.transfers._atomic import check_mode, temporary_name

if TYPE_CHECKING:
    from asyncssh import SFTPAttrs, SFTPClient


class SftpFile:
    """
    A file that is replaced by a rename. Symlinks are followed; mode and owner are kept where permitted.

    Only SFTP requests are sent. If a server lacks the POSIX rename, ``sshfs`` runs ``cp`` in a shell instead: many
    servers have none, and on a full disk ``cp`` leaves half a file under the final name.

    :param fs: an ``SSHFileSystem``
    :param path: where to write to
    """

    def __init__(self, fs: Any, path: str) -> None:
        self._fs = fs
        self._path = path
        self._temporary = ""

    def check(self) -> None:
        """Validate that a file can have this name; see :class:`Target`."""
        _, old = self._run(self._find)
        if old is not None and old.permissions is not None:
            check_mode(self._path, old.permissions)

    def open(self) -> IO[bytes]:
        """Open a hidden file beside the target."""
        self._run(self._prepare)
        # Without a block size, sshfs uses the server's limit; OpenSSH disconnects above 256 KiB.
        file: IO[bytes] = self._fs.open(self._temporary, "wb")
        self._run(self._copy_mode_and_owner)
        return file

    def commit(self, file: IO[bytes]) -> None:
        """Close the file and rename it."""
        file.close()
        self._run(self._rename)

    def discard(self, file: IO[bytes]) -> None:
        """Remove the file."""
        with suppress(Exception):
            file.close()
        with suppress(Exception):
            self._fs.rm_file(self._temporary)

    def _run(self, action: Any) -> Any:
        async def run() -> Any:
            async with self._fs.client.start_sftp_client() as sftp:
                return await action(sftp)

        return sync(self._fs.loop, run)

    async def _find(self, sftp: SFTPClient) -> tuple[str, SFTPAttrs | None]:
        """Return the target with its symlinks resolved, and the attributes of the existing file."""
        path = self._path
        try:
            path = str(await sftp.realpath(path))
            return path, await sftp.stat(path)
        except (SFTPNoSuchFile, SFTPNoSuchPath):
            return path, None

    async def _prepare(self, sftp: SFTPClient) -> None:
        self._path, self._old = await self._find(sftp)
        folder, name = posixpath.split(self._path)
        self._temporary = posixpath.join(folder, temporary_name(name))
        if self._old is None:
            await sftp.makedirs(folder, exist_ok=True)

    async def _copy_mode_and_owner(self, sftp: SFTPClient) -> None:
        old = self._old
        if old is None:
            return
        with suppress(SFTPError):
            if old.uid is not None and old.gid is not None:
                await sftp.chown(self._temporary, old.uid, old.gid)
        with suppress(SFTPError):
            if old.permissions is not None:
                await sftp.chmod(self._temporary, stat.S_IMODE(old.permissions))

    async def _rename(self, sftp: SFTPClient) -> None:
        try:
            await sftp.posix_rename(self._temporary, self._path)
        except SFTPOpUnsupported:
            await self._rename_in_steps(sftp)

    async def _rename_in_steps(self, sftp: SFTPClient) -> None:
        """Rename on a server without the POSIX rename: the old file is moved away first."""
        if not await sftp.lexists(self._path):
            await sftp.rename(self._temporary, self._path)
            return
        aside = f"{self._temporary}.old"
        await sftp.rename(self._path, aside)
        try:
            await sftp.rename(self._temporary, self._path)
        except BaseException:
            await sftp.rename(aside, self._path)
            raise
        await sftp.remove(aside)

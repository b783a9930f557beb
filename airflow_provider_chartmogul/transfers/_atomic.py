"""
Atomic writes: a file appears under its name when it is complete, and replaces an existing one in one step.

* Local files and SFTP: written under a temporary name beside the target and renamed.
* S3, Google Cloud Storage and Azure Blob Storage: uploaded to the target's name. An object becomes visible when its
  upload is completed; an upload that fails is aborted instead, since closing the file would complete it.
* Any other store: written under a temporary name, then renamed if the store can, else copied and deleted.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
"""Schemes of stores in which an object is visible when it is complete."""
_PART_SIZE = 8 * 1024 * 1024  # bytes buffered in memory and sent to an object store in one request
_LONGEST_NAME = 255  # bytes, on nearly every file system


class Target(Protocol):
    """The target of an export."""

    def check(self) -> None:
        """
        Validate that a file can have this name.

        :raises ValueError: if it is a folder or no regular file
        """

    def open(self) -> IO[bytes]:
        """Open a file that is not yet visible under the target's name."""

    def commit(self, file: IO[bytes]) -> None:
        """Close the file and make it visible under the target's name."""

    def discard(self, file: IO[bytes]) -> None:
        """Remove the file."""


@contextmanager
def atomic_open(target: Target) -> Iterator[IO[bytes]]:
    """Open a target for writing; it is replaced if the block succeeds, and unchanged otherwise."""
    file = target.open()
    try:
        yield file
        target.commit(file)
    except BaseException:
        target.discard(file)
        raise


def target_for(path: ObjectStoragePath) -> Target:
    """Return the target for a path."""
    # Not through `path.fs`, which imports the file systems of all providers in a quarter of a second.
    if is_local(path):
        return _LocalFile(Path(path.path))
    fs = path.fs
    if type(fs).__module__.startswith("sshfs."):
        from airflow_provider_chartmogul.transfers._sftp import SftpFile

        return SftpFile(fs, path.path)
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if protocols & OBJECT_STORES:
        return _Upload(fs, path.path)
    return _TemporaryFile(fs, path.path)


def is_local(path: ObjectStoragePath) -> bool:
    """Return whether a path is on the local file system."""
    return path.protocol in ("", "file", "local")


def absolute(path: str | os.PathLike[str]) -> str:
    """Make a local path absolute, since Airflow 2's ``ObjectStoragePath`` prepends ``/``; leave a URL unchanged."""
    return text if "://" in (text := str(path)) else str(Path(text).expanduser().absolute())


def temporary_name(name: str) -> str:
    """Return a name for a hidden temporary file in the same folder, within the length limit of names."""
    suffix = f".{uuid4().hex[:16]}.tmp"
    return f".{name.encode()[: _LONGEST_NAME - 1 - len(suffix)].decode(errors='ignore')}{suffix}"


def check_mode(path: object, mode: int) -> None:
    """
    Validate the mode of an existing file of the target's name.

    :raises ValueError: if it is a folder or no regular file
    """
    if stat.S_ISDIR(mode):
        raise ValueError(f"path: {path} is a folder; expected the name of a file.")
    if not stat.S_ISREG(mode):
        raise ValueError(f"path: {path} is not a regular file, and is not replaced.")


class _LocalFile:
    """A file that is replaced by a rename. Symlinks are followed; mode and owner are kept where permitted."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._temporary = self._path.with_name(temporary_name(self._path.name))

    def check(self) -> None:
        with suppress(FileNotFoundError):
            check_mode(self._path, self._path.stat().st_mode)

    def open(self) -> IO[bytes]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            old = self._path.stat()
        except FileNotFoundError:
            return self._temporary.open("xb")
        # Not readable by others until it has the old file's mode, which may be as strict.
        descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        for uid, gid in ((-1, old.st_gid), (old.st_uid, -1)):
            with suppress(OSError):
                os.fchown(descriptor, uid, gid)
        with suppress(OSError):
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
        return os.fdopen(descriptor, "wb")

    def commit(self, file: IO[bytes]) -> None:
        file.close()
        self._temporary.replace(self._path)

    def discard(self, file: IO[bytes]) -> None:
        with suppress(OSError):
            file.close()
        with suppress(OSError):
            self._temporary.unlink()


class _Upload:
    """An object that becomes visible when its upload is completed, which closing the file does."""

    def __init__(self, fs: Any, path: str) -> None:
        self._fs = fs
        self._path = path

    def check(self) -> None:
        """Accept any key; the operator refuses a bucket without one."""

    def open(self) -> IO[bytes]:
        file: IO[bytes] = self._fs.open(self._path, "wb", block_size=_PART_SIZE)
        return file

    def commit(self, file: IO[bytes]) -> None:
        file.close()

    def discard(self, file: IO[bytes]) -> None:
        with suppress(Exception):
            file.discard()  # type: ignore[attr-defined]  # of fsspec's buffered files
        # A later close, for example by the garbage collector, would complete a partial upload.
        file.closed = True  # type: ignore[misc]


class _TemporaryFile:
    """A file of any other store."""

    def __init__(self, fs: Any, path: str) -> None:
        self._fs = fs
        self._path = path
        self._folder, separator, name = path.rpartition("/")
        self._temporary = f"{self._folder}{separator}{temporary_name(name)}"

    def check(self) -> None:
        if self._fs.isdir(self._path):
            raise ValueError(f"path: {self._path} is a folder; expected the name of a file.")

    def open(self) -> IO[bytes]:
        self._fs.makedirs(self._folder, exist_ok=True)
        file: IO[bytes] = self._fs.open(self._temporary, "wb")
        return file

    def commit(self, file: IO[bytes]) -> None:
        from fsspec import AbstractFileSystem

        file.close()
        if type(self._fs).mv is not AbstractFileSystem.mv:
            self._fs.mv(self._temporary, self._path)
        else:
            # Like `mv`, which however treats brackets in a name as a pattern.
            self._fs.cp_file(self._temporary, self._path)
            self._fs.rm_file(self._temporary)

    def discard(self, file: IO[bytes]) -> None:
        with suppress(Exception):
            file.close()
        with suppress(Exception):
            self._fs.rm_file(self._temporary)

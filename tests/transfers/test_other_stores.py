"""Exports to a store that is neither local, SFTP nor an object store that completes uploads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chartmogul.transfers._atomic import Target, atomic_open, target_for
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_chartmogul.sandbox import Sandbox


class RenamingStore(LocalFileSystem):  # type: ignore[misc]  # fsspec is not typed
    """A store with folders that can rename."""

    protocol = "other"

    def cp_file(self, path1: str, path2: str, **options: Any) -> None:
        raise AssertionError("a rename is enough")


class CopyingStore(RenamingStore):
    """A store with folders that cannot rename."""

    cp_file = LocalFileSystem.cp_file
    mv = AbstractFileSystem.mv


class LockedStore(RenamingStore):
    """A store that removes nothing."""

    def rm_file(self, path: str) -> None:
        raise PermissionError(path)


def target(store: type[RenamingStore], path: Path) -> Target:
    given: Any = SimpleNamespace(protocol="other", fs=store(), path=str(path))
    return target_for(given)


@pytest.mark.parametrize("store", [RenamingStore, CopyingStore])
def test_a_file_and_its_folders_appear_when_it_is_complete(store: type[RenamingStore], tmp_path: Path) -> None:
    path = tmp_path / "dt=2030-01-31" / "crm" / "rows[1].jsonl"
    for before, content in ((None, b"first"), (b"first", b"second")):
        with atomic_open(target(store, path)) as file:
            file.write(content)
            assert (path.read_bytes() if path.exists() else None) == before
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def test_a_file_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"old")
    failing = target(RenamingStore, path)
    file = failing.open()
    file.write(b"half")
    failing.discard(file)
    assert file.closed
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_a_temporary_file_that_cannot_be_removed_is_left(tmp_path: Path) -> None:
    locked = target(LockedStore, tmp_path / "rows.jsonl")
    locked.discard(locked.open())
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_is_no_target(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder; expected the name of a file"):
        target(RenamingStore, tmp_path).check()


def test_a_store_without_its_provider_is_named_with_the_fix(sandbox: Sandbox) -> None:
    with pytest.raises(
        AirflowFailException, match=r"path: .*'?nowhere'?\. .*install the Airflow provider of its store"
    ):
        ChartMogulToObjectStorageOperator(task_id="export", path="nowhere://bucket/key").execute({})
    assert sandbox.requests == []

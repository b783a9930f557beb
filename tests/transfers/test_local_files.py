"""Exports over existing local files, folders, links and devices."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect


def export(path: object, **options: Any) -> dict[str, Any]:
    return ChartMogulToObjectStorageOperator(task_id="export", path=str(path), **options).execute({})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("old_mode", [0o600, 0o640, 0o664, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(old_mode: int, tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    path.write_text("old")
    path.chmod(old_mode)
    export(path)
    assert len(path.read_text().splitlines()) == 3
    assert mode(path) == old_mode


def test_a_connection_that_is_wrong_leaves_not_even_a_folder(connect: Connect, tmp_path: Path) -> None:
    connect(password="")
    with pytest.raises(AirflowFailException, match="put the ChartMogul API key there"):
        export(tmp_path / "new" / "o.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("sandbox")
def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        export(tmp_path / "o.jsonl")
    finally:
        os.umask(previous)
    assert mode(tmp_path / "o.jsonl") == 0o640


@pytest.mark.usefixtures("sandbox")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_that_is_replaced_keeps_its_owner_where_permitted(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    path.write_text("old")
    os.chown(path, 12345, 23456)
    path.chmod(0o640)
    export(path)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (12345, 23456, 0o640)


@pytest.mark.usefixtures("sandbox")
def test_an_owner_that_cannot_be_kept_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    path = tmp_path / "o.jsonl"
    path.write_text("old")
    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(os, "fchmod", refuse)
    export(path)
    assert len(path.read_text().splitlines()) == 3


def test_nobody_else_can_read_the_temporary_file_of_a_private_one(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_chartmogul.transfers._formats import JsonLinesWriter

    path = tmp_path / "o.jsonl"
    path.write_text("old")
    path.chmod(0o600)
    original = JsonLinesWriter.write
    modes: list[int] = []

    def write(writer: JsonLinesWriter, page: list[Any]) -> None:
        modes.extend(mode(file) for file in tmp_path.iterdir())
        original(writer, page)

    monkeypatch.setattr(JsonLinesWriter, "write", write)
    export(path)
    assert modes == [0o600, 0o600]
    assert len(sandbox.requests) == 1


@pytest.mark.usefixtures("sandbox")
def test_symlinks_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real = tmp_path / "there" / "real.jsonl"
    for link, target in (("a.jsonl", "there/real.jsonl"), ("b.jsonl", "a.jsonl")):
        (tmp_path / link).symlink_to(target)
    for _ in range(2):  # the links' target does not exist at first
        export(tmp_path / "b.jsonl")
        assert len(real.read_text().splitlines()) == 3
        assert (tmp_path / "a.jsonl").is_symlink()
        assert (tmp_path / "b.jsonl").is_symlink()
        assert os.listdir(real.parent) == ["real.jsonl"]  # noqa: PTH208


def test_whatever_is_no_regular_file_is_refused_before_anything_is_read(sandbox: Sandbox, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as unix_socket:
        unix_socket.bind(str(tmp_path / "s"))
        for path in (tmp_path / "fifo", tmp_path / "link", tmp_path / "s", Path("/dev/null"), Path("/dev/stdout")):
            if path.is_file():  # if the tests' output is redirected to a file
                continue
            with pytest.raises(AirflowFailException, match="is not a regular file, and is not replaced"):
                export(path)
    assert sandbox.requests == []
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_loop_of_symlinks_is_an_error(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises((OSError, RuntimeError, AirflowFailException)):
        export(tmp_path / "a")
    assert sandbox.requests == []


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    "name", ["x" * 249 + ".jsonl", "é" * 124 + "x.jsonl", "x" * 220 + ".jsonl", "🎉" * 60 + ".jsonl"]
)
def test_names_up_to_the_longest_are_taken(name: str, tmp_path: Path) -> None:
    for _ in range(2):
        export(tmp_path / name)
        assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.usefixtures("sandbox")
def test_a_relative_path_and_a_home_folder_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    export("exports/o.jsonl")
    export("~/o.jsonl")
    assert (tmp_path / "exports" / "o.jsonl").is_file()
    assert (tmp_path / "home" / "o.jsonl").is_file()


@pytest.mark.parametrize("path", ["zip", "o.zst/o.jsonl", "o.ndjson", "o.json.gz"])
def test_the_name_of_a_compression_is_refused_at_the_end_only(path: str) -> None:
    assert ChartMogulToObjectStorageOperator(task_id="export", path=path).path == path

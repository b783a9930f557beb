from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import requests
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, ObjectStoragePath

from airflow_provider_chartmogul.exceptions import ChartMogulInvalidResponseError, ChartMogulUnavailableError
from airflow_provider_chartmogul.sandbox import Fault, Sandbox
from airflow_provider_chartmogul.transfers._formats import JsonLinesWriter
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator
from tests.support.dag_runs import run_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_chartmogul.transfers._rows import Row
    from tests.conftest import Logs

PATIENCE = 30.0


def export(path: Any, **options: Any) -> ChartMogulToObjectStorageOperator:
    return ChartMogulToObjectStorageOperator(**{"task_id": "export", "path": str(path), **options})


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(opportunities=1000, requests_per_second=None) as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", sandbox.connection_json)
        yield sandbox


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def as_lines(opportunities: list[dict[str, Any]]) -> str:
    return "".join(
        json.dumps(opportunity, ensure_ascii=False, separators=(",", ":")) + "\n" for opportunity in opportunities
    )


@pytest.mark.parametrize(
    ("count", "pages"), [(0, 1), (1, 1), (199, 1), (200, 1), (201, 2), (400, 2), (401, 3), (1000, 5)]
)
def test_each_opportunity_is_a_line_as_it_was_received(
    count: int, pages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "opportunities.jsonl"
    with Sandbox(opportunities=count) as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", sandbox.connection_json)
        result = export(path).execute({})
        assert path.read_text() == as_lines(sandbox.opportunities)
        assert len(sandbox.requests) == pages
    assert result == {"path": str(path), "rows": count, "bytes": path.stat().st_size, "pages": pages}
    assert [file.name for file in tmp_path.iterdir()] == ["opportunities.jsonl"]


def test_folders_are_made_and_urls_are_taken(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "dt=2030-01-31" / "crm" / "opportunities.jsonl"
    assert export(f"file://{path}").execute({})["path"] == f"file://{path}"
    assert rows_of(path) == sandbox.opportunities


def test_a_path_object_is_taken(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "opportunities.jsonl"
    operator = ChartMogulToObjectStorageOperator(task_id="export", path=ObjectStoragePath(f"file://{path}"))
    assert operator.execute({})["rows"] == 3
    assert rows_of(path) == sandbox.opportunities


def test_gz_is_compressed_and_the_same_for_the_same_rows(sandbox: Sandbox, tmp_path: Path) -> None:
    contents = []
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        result = export(tmp_path / name).execute({})
        contents.append((tmp_path / name).read_bytes())
        assert result["bytes"] == len(contents[-1])
    assert contents[0] == contents[1]
    assert contents[0][4:8] == bytes(4)  # no time of writing
    assert gzip.decompress(contents[0]).decode() == as_lines(sandbox.opportunities)


@pytest.mark.parametrize("value", ["Köln 🎉", "a\nb\r\u2028c", '"\\', "\x00"])
def test_any_text_stays_on_its_line(value: str, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.add_opportunity(pipeline=value)
    export(tmp_path / "o.jsonl").execute({})
    lines = (tmp_path / "o.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line) for line in lines[:-1]] == sandbox.opportunities
    assert lines[-1] == b""


def test_half_a_character_is_written_as_it_came(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.inject_fault(Fault("body", body='{"entries":[{"a":"\\ud83d"},{"b":"ü"}],"cursor":null,"has_more":false}'))
    export(tmp_path / "o.jsonl").execute({})
    assert rows_of(tmp_path / "o.jsonl") == [{"a": "\ud83d"}, {"b": "ü"}]


def test_any_list_endpoint_can_be_exported(sandbox: Sandbox, tmp_path: Path) -> None:
    page = '{"customers":[{"id":1,"name":"Ada"},{"id":2,"new":{"x":[0.1]}}],"cursor":"x","has_more":false}'
    sandbox.inject_fault(Fault("body", body=page, path="^/v1/customers$"))
    query = {"status": "Active", "per_page": 50}
    assert export(tmp_path / "c.jsonl", endpoint="customers", query=query).execute({})["rows"] == 2
    assert (tmp_path / "c.jsonl").read_text() == '{"id":1,"name":"Ada"}\n{"id":2,"new":{"x":[0.1]}}\n'
    assert sandbox.requests[0].query == {"status": "Active", "per_page": "50"}


def test_its_parameters_are_templated_and_airflows_params_stay_airflows(sandbox: Sandbox, tmp_path: Path) -> None:
    def build() -> DAG:
        params = {"day": "2030-01-31", "stage": "Discovery", "what": "opportunities", "connection": "default"}
        with DAG("dag", schedule=None, params=params) as dag:
            export(
                tmp_path / "dt={{ params.day }}" / "o.jsonl",
                endpoint="{{ params.what }}",
                query={"pipeline_stage": "{{ params.stage }}"},
                chartmogul_conn_id="chartmogul_{{ params.connection }}",
            )
        return dag

    outcome = run_of(build).start("export")
    assert outcome.state == "success"
    assert outcome.result["path"] == str(tmp_path / "dt=2030-01-31" / "o.jsonl")
    assert sandbox.requests[0].query == {"per_page": "200", "pipeline_stage": "Discovery"}


def test_what_exists_throughout_is_there_once_whatever_happens_meanwhile(
    account: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = account.opportunities
    doomed = {opportunity["uuid"] for opportunity in before[::7]}
    edited = {opportunity["uuid"] for opportunity in before[::5]} - doomed
    original = JsonLinesWriter.write
    written = 0

    def write(writer: JsonLinesWriter, page: list[Row]) -> None:
        nonlocal written
        original(writer, page)
        account.add_opportunity(pipeline_stage="Evaluation")
        for opportunity in before[written::5]:
            if opportunity["uuid"] in doomed:
                account.remove_opportunity(opportunity["uuid"])
            elif opportunity["uuid"] in edited:
                account.set_opportunity(opportunity["uuid"], amount_in_cents=written)
        written += 1

    monkeypatch.setattr(JsonLinesWriter, "write", write)
    export(tmp_path / "o.jsonl").execute({})
    uuids = [row["uuid"] for row in rows_of(tmp_path / "o.jsonl")]
    assert written == 5
    assert len(set(uuids)) == len(uuids)
    assert {opportunity["uuid"] for opportunity in before} - doomed <= set(uuids)


@pytest.mark.parametrize("cursors", [["x", "x"], ["x", None]])
def test_a_cursor_that_stands_still_is_an_error_within_two_pages(
    cursors: list[str | None], sandbox: Sandbox, tmp_path: Path
) -> None:
    for cursor in cursors:
        page = {"entries": [{"uuid": "1"}], "cursor": cursor, "has_more": True}
        sandbox.inject_fault(Fault("body", body=json.dumps(page)))
    with pytest.raises(ChartMogulInvalidResponseError, match="the list does not end"):
        export(tmp_path / "o.jsonl").execute({})
    assert len(sandbox.requests) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_next_page_is_requested_while_the_last_one_is_written(
    account: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests_at_writes: list[int] = []
    original = JsonLinesWriter.write

    def write(writer: JsonLinesWriter, page: list[Row]) -> None:
        wanted = min(len(requests_at_writes) + 2, 5)
        give_up = time.monotonic() + PATIENCE
        while len(account.requests) < wanted and time.monotonic() < give_up:
            time.sleep(0.01)
        requests_at_writes.append(len(account.requests))
        original(writer, page)

    monkeypatch.setattr(JsonLinesWriter, "write", write)
    export(tmp_path / "o.jsonl").execute({})
    assert requests_at_writes == [2, 3, 4, 5, 5]


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("status", status=403), AirflowFailException),
        (Fault("status", status=503, times=None), ChartMogulUnavailableError),
        (Fault("body", body='{"entries": 3}'), ChartMogulInvalidResponseError),
    ],
)
def test_an_error_leaves_the_old_file_and_nothing_else(
    fault: Fault, error: type[Exception], account: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "o.jsonl").write_text("old")
    original = JsonLinesWriter.write

    def write(writer: JsonLinesWriter, page: list[Row]) -> None:
        account.inject_fault(fault)
        original(writer, page)

    monkeypatch.setattr(JsonLinesWriter, "write", write)
    with pytest.raises(error):
        export(tmp_path / "o.jsonl").execute({})
    assert [file.name for file in tmp_path.iterdir()] == ["o.jsonl"]
    assert (tmp_path / "o.jsonl").read_text() == "old"


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt, SystemExit])
def test_when_writing_ends_early_nothing_is_left_and_the_task_keeps_its_retries(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_writer: JsonLinesWriter, _page: list[Row]) -> None:
        assert len(list(tmp_path.iterdir())) == 1
        raise error

    monkeypatch.setattr(JsonLinesWriter, "write", write)
    with pytest.raises(error):
        export(tmp_path / "o.jsonl").execute({})
    assert list(tmp_path.iterdir()) == []


SLOW_EXPORT = """
import sys, time
from airflow_provider_chartmogul.transfers._formats import JsonLinesWriter
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

original = JsonLinesWriter.write
def write(writer, page):
    original(writer, page)
    writer._file.flush()
    time.sleep(0.2)

JsonLinesWriter.write = write
ChartMogulToObjectStorageOperator(task_id="export", path=sys.argv[1]).execute({})
"""


def test_a_killed_export_leaves_nothing_under_its_name_and_a_retry_succeeds(account: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    process = subprocess.Popen([sys.executable, "-c", SLOW_EXPORT, str(path)], env=dict(os.environ))  # noqa: S603  # a script of our own
    try:
        give_up = time.monotonic() + 2 * PATIENCE
        while not any(file.stat().st_size for file in tmp_path.iterdir()) and time.monotonic() < give_up:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    (left_over,) = tmp_path.iterdir()
    assert left_over.name.startswith(".o.jsonl.")
    assert left_over.name.endswith(".tmp")
    export(path).execute({})
    assert rows_of(path) == account.opportunities


FAILING_EXPORT = """
import http.client, sys, threading
from airflow_provider_chartmogul.transfers._formats import JsonLinesWriter
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

sent = threading.Semaphore(0)
send_headers = http.client.HTTPConnection.endheaders

def endheaders(*args, **kwargs):
    send_headers(*args, **kwargs)
    sent.release()

def write(writer, page):
    sent.acquire(), sent.acquire()
    raise OSError("The disk is full.")

http.client.HTTPConnection.endheaders = endheaders

JsonLinesWriter.write = write
ChartMogulToObjectStorageOperator(task_id="export", path=sys.argv[1]).execute({})
"""


def test_an_export_that_cannot_write_does_not_wait_for_the_page_it_has_requested(
    account: Sandbox, tmp_path: Path
) -> None:
    account.inject_fault(Fault("slow", seconds=0))
    account.inject_fault(Fault("hang", seconds=10 * PATIENCE))
    start = time.monotonic()
    command = [sys.executable, "-c", FAILING_EXPORT, str(tmp_path / "o.jsonl")]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)  # noqa: S603  # a script of our own
    assert "The disk is full." in done.stderr
    assert done.returncode == 1
    assert time.monotonic() - start < PATIENCE
    assert len(account.requests) == 2
    assert list(tmp_path.iterdir()) == []


def test_without_a_connection_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no_such_connection"):
        export(tmp_path / "folder" / "o.jsonl", chartmogul_conn_id="no_such_connection").execute({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [None, "{}"])
def test_its_http_session_is_closed(
    body: str | None, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[requests.Session] = []
    original = requests.Session.close

    def close(session: requests.Session) -> None:
        closed.append(session)
        original(session)

    monkeypatch.setattr(requests.Session, "close", close)
    if body is not None:
        sandbox.inject_fault(Fault("body", body=body))
    with nullcontext() if body is None else pytest.raises(ChartMogulInvalidResponseError):
        export(tmp_path / "o.jsonl").execute({})
    assert len(closed) == 1


@pytest.mark.usefixtures("account")
def test_progress_is_logged_every_ten_seconds(tmp_path: Path, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            self.now += 5
            return self.now

    monkeypatch.setattr("airflow_provider_chartmogul.transfers.object_storage.time", Clock())
    export(tmp_path / "o.jsonl").execute({})
    assert [message for message in logs.messages if message.endswith("rows/s.")] == [
        "So far: 2 pages, 400 rows, 40 rows/s.",
        "So far: 4 pages, 800 rows, 40 rows/s.",
        "All: 5 pages, 1000 rows, 33 rows/s.",
    ]


def test_no_address_is_logged(account: Sandbox, tmp_path: Path, logs: Logs) -> None:
    export(tmp_path / "o.jsonl").execute({})
    assert "Wrote 1000 rows" in logs.everything
    assert account.opportunities[0]["owner"] not in logs.everything


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "csv"}, "format: expected jsonl or parquet, not 'csv'"),
        ({"format": "parquet", "endpoint": "customers"}, "parquet is for opportunities only"),
        ({"format": "parquet", "path": "o.parquet.gz"}, "leave out .gz"),
        ({"format": "parquet", "path": "o.parquet.zst"}, "leave out .zst"),
        ({"path": "o.jsonl.zst"}, ".zst is not supported; end the name in .gz for gzip"),
        ({"path": "o.jsonl.GZ"}, ".GZ is not supported; end the name in .gz for gzip"),
        ({"path": "exports/"}, "expected the name of a file, or a bucket and a key in it, not exports/"),
        ({"path": None}, "expected the name of a file, without white space around it, not None"),
        ({"path": ""}, "expected the name of a file"),
        ({"path": "o.jsonl\n"}, "expected the name of a file, without white space around it"),
        ({"path": "s3:///key"}, "a bucket and a key in it, not s3:///key"),
        ({"path": "s3://aws_default@bucket/"}, "a bucket and a key in it, not s3://aws_default@bucket/"),
    ],
)
def test_what_is_wrong_fails_when_the_dag_is_parsed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChartMogulToObjectStorageOperator(**{"task_id": "export", "path": "o.jsonl", **options})


def test_a_folder_is_not_overwritten(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match="is a folder"):
        export(tmp_path).execute({})
    assert sandbox.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("endpoint", ["../account", "customers?x=1", "", "/v1/customers"])
def test_what_is_no_endpoint_fails_without_retry_or_request(endpoint: str, sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match="endpoint: expected a path"):
        export(tmp_path / "o.jsonl", endpoint=endpoint).execute({})
    assert sandbox.requests == []
    assert list(tmp_path.iterdir()) == []

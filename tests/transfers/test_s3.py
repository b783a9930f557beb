"""Exports to a local S3 server, through an Airflow connection and ObjectStoragePath."""

from __future__ import annotations

import gc
import gzip
import io
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pyarrow.parquet
import pytest
import s3fs
from airflow.providers.common.compat.sdk import AirflowFailException
from moto.server import ThreadedMotoServer

from airflow_provider_chartmogul.exceptions import ChartMogulInvalidResponseError
from airflow_provider_chartmogul.sandbox import Fault, Sandbox
from airflow_provider_chartmogul.transfers import _atomic
from airflow_provider_chartmogul.transfers._formats import JsonLinesWriter
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_chartmogul.transfers._rows import Row

BUCKET = "warehouse"
SMALLEST_PART = 5 * 1024 * 1024  # of a multipart upload


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_url: str) -> Any:
    service = boto3.resource(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    bucket = service.create_bucket(Bucket=BUCKET)
    bucket.objects.delete()
    for upload in unfinished_uploads(bucket):
        upload.abort()
    return bucket


@pytest.fixture
def conn_id(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    # Airflow caches a file system for each connection in the process.
    conn_id = f"aws_{uuid4().hex}"
    connection = {
        "conn_type": "aws",
        "login": "key",
        "password": "secret",
        "extra": {"region_name": "us-east-1", "endpoint_url": s3_url},
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    return conn_id


def export(path: str, **options: Any) -> dict[str, Any]:
    return ChartMogulToObjectStorageOperator(task_id="export", path=path, **options).execute({})


def keys(bucket: Any) -> list[str]:
    return [item.key for item in bucket.objects.all()]


def content(bucket: Any, key: str) -> bytes:
    return bucket.Object(key).get()["Body"].read()  # type: ignore[no-any-return]  # boto3 has no types


def unfinished_uploads(bucket: Any) -> list[Any]:
    return list(bucket.multipart_uploads.all())


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Return an account whose export needs a multipart upload: three pages of large opportunities."""
    with Sandbox(opportunities=450) as sandbox:
        for opportunity in sandbox.opportunities:
            sandbox.set_opportunity(opportunity["uuid"], custom={"notes": "x" * 16_000})
        monkeypatch.setenv("AIRFLOW_CONN_CHARTMOGUL_DEFAULT", sandbox.connection_json)
        monkeypatch.setattr(_atomic, "_PART_SIZE", SMALLEST_PART)
        yield sandbox


class Calls:
    """The S3 operations that were called, and one that fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.failing: set[str] = set()
        original = s3fs.S3FileSystem.call_s3

        def call_s3(fs: Any, name: str, *args: Any, **options: Any) -> Any:
            self.names.append(name)
            if name in self.failing:
                raise OSError(f"S3 has a problem with {name}.")
            return original(fs, name, *args, **options)

        monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", call_s3)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@pytest.mark.parametrize("key", ["o.jsonl", "crm/dt=2030-01-31/o.jsonl", "odd [1]*?/ö.jsonl"])
def test_an_object_is_written(key: str, sandbox: Sandbox, bucket: Any, conn_id: str) -> None:
    path = f"s3://{conn_id}@{BUCKET}/{key}"
    result = export(path)
    assert keys(bucket) == [key]
    rows = [json.loads(line) for line in content(bucket, key).splitlines()]
    assert rows == sandbox.opportunities
    assert result == {"path": path, "rows": 3, "bytes": len(content(bucket, key)), "pages": 1}


@pytest.mark.usefixtures("sandbox")
def test_a_retry_overwrites(bucket: Any, conn_id: str) -> None:
    bucket.put_object(Key="o.jsonl.gz", Body=b"old")
    export(f"s3://{conn_id}@{BUCKET}/o.jsonl.gz")
    assert keys(bucket) == ["o.jsonl.gz"]
    assert len(gzip.decompress(content(bucket, "o.jsonl.gz")).splitlines()) == 3


def test_no_rows_make_an_empty_object(sandbox: Sandbox, bucket: Any, conn_id: str) -> None:
    assert export(f"s3://{conn_id}@{BUCKET}/o.jsonl", query={"pipeline": "none"})["rows"] == 0
    assert keys(bucket) == ["o.jsonl"]
    assert content(bucket, "o.jsonl") == b""
    assert len(sandbox.requests) == 1


def test_parquet_is_written(sandbox: Sandbox, bucket: Any, conn_id: str) -> None:
    export(f"s3://{conn_id}@{BUCKET}/o.parquet", format="parquet")
    table = pyarrow.parquet.read_table(io.BytesIO(content(bucket, "o.parquet")))
    assert table["uuid"].to_pylist() == [opportunity["uuid"] for opportunity in sandbox.opportunities]


def test_an_object_of_several_parts_appears_complete(
    account: Sandbox, bucket: Any, conn_id: str, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    original = JsonLinesWriter.write

    def write(writer: JsonLinesWriter, page: list[Row]) -> None:
        original(writer, page)
        if len(page) < 200:
            seen.append(keys(bucket))

    monkeypatch.setattr(JsonLinesWriter, "write", write)
    account.add_opportunity()
    result = export(f"s3://{conn_id}@{BUCKET}/o.jsonl")
    assert result["bytes"] > SMALLEST_PART
    assert seen == [[]]
    assert keys(bucket) == ["o.jsonl"]
    uuids = [json.loads(line)["uuid"] for line in content(bucket, "o.jsonl").splitlines()]
    assert uuids == [opportunity["uuid"] for opportunity in account.opportunities]
    # Neither read nor copied nor deleted: write permission suffices.
    assert calls.names == ["create_multipart_upload", "upload_part", "upload_part", "complete_multipart_upload"]


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("failing", ["create_multipart_upload", "upload_part", "complete_multipart_upload"])
def test_a_failed_upload_leaves_the_old_object_and_no_parts(
    failing: str, bucket: Any, conn_id: str, calls: Calls
) -> None:
    bucket.put_object(Key="o.jsonl", Body=b"old")
    calls.failing = {failing}
    with pytest.raises(OSError, match=failing):
        export(f"s3://{conn_id}@{BUCKET}/o.jsonl")
    gc.collect()
    assert keys(bucket) == ["o.jsonl"]
    assert content(bucket, "o.jsonl") == b"old"
    assert unfinished_uploads(bucket) == []


@pytest.mark.usefixtures("account")
def test_an_upload_that_cannot_even_be_aborted_fails_with_its_own_error(
    bucket: Any, conn_id: str, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.failing = {"upload_part"}
    monkeypatch.setattr(s3fs.S3FileSystem, "abort_mpu", lambda *_: 1 / 0)
    with pytest.raises(OSError, match="upload_part"):
        export(f"s3://{conn_id}@{BUCKET}/o.jsonl")
    gc.collect()
    assert keys(bucket) == []


@pytest.mark.usefixtures("account")
def test_an_export_that_fails_after_a_part_leaves_the_old_object_and_no_parts(
    bucket: Any, conn_id: str, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_object(Key="o.jsonl", Body=b"old")
    original = JsonLinesWriter.write

    def write(writer: JsonLinesWriter, page: list[Row]) -> None:
        original(writer, page)
        if "upload_part" in calls.names:
            assert len(unfinished_uploads(bucket)) == 1
            raise KeyboardInterrupt

    monkeypatch.setattr(JsonLinesWriter, "write", write)
    with pytest.raises(KeyboardInterrupt):
        export(f"s3://{conn_id}@{BUCKET}/o.jsonl")
    gc.collect()
    assert content(bucket, "o.jsonl") == b"old"
    assert unfinished_uploads(bucket) == []


def test_a_bucket_without_a_key_is_refused_before_anything_is_read(sandbox: Sandbox, bucket: Any, conn_id: str) -> None:
    operator = ChartMogulToObjectStorageOperator(task_id="export", path="{{ params.path }}")
    for path in (f"s3://{conn_id}@{BUCKET}", f"s3://{conn_id}@{BUCKET}/"):
        operator.path = path
        with pytest.raises(AirflowFailException, match=r"a bucket and a key in it, not \S+warehouse/?\."):
            operator.execute({})
    assert sandbox.requests == []
    assert keys(bucket) == []


def test_an_error_leaves_the_old_object_and_nothing_else(sandbox: Sandbox, bucket: Any, conn_id: str) -> None:
    bucket.put_object(Key="o.jsonl", Body=b"old")
    page = {"entries": [{"uuid": "1"}], "cursor": "x", "has_more": True}
    sandbox.inject_fault(Fault("body", body=json.dumps(page), times=2))
    with pytest.raises(ChartMogulInvalidResponseError):
        export(f"s3://{conn_id}@{BUCKET}/o.jsonl")
    assert keys(bucket) == ["o.jsonl"]
    assert content(bucket, "o.jsonl") == b"old"

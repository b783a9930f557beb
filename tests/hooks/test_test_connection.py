from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import Fault

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect


def result(conn_id: str = "chartmogul_default") -> tuple[bool, str]:
    works, message = ChartMogulHook(conn_id).test_connection()
    assert isinstance(works, bool)
    assert isinstance(message, str)
    return works, message


def test_a_good_connection_names_the_account(sandbox: Sandbox) -> None:
    assert result() == (
        True,
        "Connected to ChartMogul account 'ChartMogul Sandbox'; its opportunities are accessible.",
    )
    assert [request.path for request in sandbox.requests] == ["/v1/ping", "/v1/account", "/v1/opportunities"]


def test_a_read_only_key_is_good(sandbox: Sandbox, connect: Connect) -> None:
    connect(password=sandbox.read_only_api_key)
    assert result()[0]


def test_a_rejected_key_is_reported_with_the_fix(connect: Connect) -> None:
    connect(password="rejected-key")
    works, message = result()
    assert not works
    assert message.startswith("GET /v1/ping: HTTP 401: No valid API key provided. Check the API key in the password")
    assert "rejected-key" not in message


def test_a_key_without_crm_seat_is_distinguished_from_a_rejected_one(sandbox: Sandbox, connect: Connect) -> None:
    connect(password=sandbox.seatless_api_key)
    works, message = result()
    assert not works
    assert message.startswith("The API key of ChartMogul account 'ChartMogul Sandbox' works, but: ")
    assert "CRM seat" in message
    assert sandbox.seatless_api_key not in message


@pytest.mark.parametrize(
    "fault",
    [
        Fault("html", times=None),
        Fault("html", status=404, times=None),
        Fault("body", body="[]", times=None),
        Fault("body", body="{}", times=None),
        Fault("body", body="", times=None),
        Fault("redirect", location="https://example.com/login", times=None),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.body}",
)
def test_a_host_that_is_not_chartmogul_is_reported_as_such(fault: Fault, sandbox: Sandbox) -> None:
    sandbox.inject_fault(fault)
    expected = f"{sandbox.url} does not respond like ChartMogul's API. Check the connection's host."
    assert result() == (False, expected)


def test_a_host_without_a_server_is_named(sandbox: Sandbox) -> None:
    sandbox.stop()
    works, message = result()
    assert not works
    assert message.startswith(f"GET /v1/ping: no response from {sandbox.url}: Connection refused. Check the host")


def test_a_host_that_is_too_busy_is_not_waited_for(sandbox: Sandbox, connect: Connect, waits: list[float]) -> None:
    connect(extra={"max_retries": 9})
    sandbox.inject_fault(Fault("status", status=503, times=None))
    works, message = result()
    assert not works
    assert "HTTP 503" in message
    assert len(sandbox.requests) == 1
    assert waits == []


def test_an_unknown_connection_is_named(sandbox: Sandbox) -> None:
    works, message = result("nowhere")
    assert not works
    assert "nowhere" in message
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"password": ""}, "password: missing"),
        ({"host": "http://example.com"}, "host: must be https"),
        ({"extra": {"timeout": "soon"}}, "extra field timeout: expected a number"),
        ({"extra": {"max_retries": -1}}, "extra field max_retries: expected a number"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], expected: str, sandbox: Sandbox, connect: Connect) -> None:
    connect(**fields)
    works, message = result()
    assert not works
    assert message.startswith(f"Airflow connection 'chartmogul_default', {expected}")
    assert sandbox.requests == []


@pytest.mark.parametrize("body", ["[]", "null", "{}", '{"name":null}', '{"name":5}'])
def test_an_account_without_a_name_does_no_harm(body: str, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", path="/v1/account", body=body))
    assert result()[0]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset", times=None),
        Fault("truncate", times=None),
        Fault("hang", times=None),
        *(Fault("status", status=status, times=None) for status in (400, 401, 402, 403, 404, 405, 422, 429, 500)),
        Fault("html", status=503, times=None),
        Fault("body", body=json.dumps({"data": {"data": "pong!"}}), times=None),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
@pytest.mark.parametrize("path", ["/v1/ping", "/v1/account", "/v1/opportunities"])
def test_it_never_raises(fault: Fault, path: str, sandbox: Sandbox, connect: Connect) -> None:
    connect(extra={"timeout": 0.1})
    only_there = Fault(fault.kind, fault.status, body=fault.body, path=path, times=None)
    sandbox.inject_fault(only_there)
    works, message = result()
    assert message
    assert works is (fault.kind == "body" and path != "/v1/ping")

"""An error of a request names the Airflow connection, since a DAG may use several."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.exceptions import ChartMogulConfigurationError, ChartMogulError
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect, Logs

Call = Callable[[ChartMogulHook], Any]
NAMED = "(connection: chartmogul_default)."
UNKNOWN = EXAMPLE_OPPORTUNITY_UUID.replace("4", "5")
NOTHING = Fault("body", body="{}", times=None)


def retrieve(hook: ChartMogulHook) -> Any:
    return hook.retrieve_opportunity(EXAMPLE_OPPORTUNITY_UUID)


def read_list(hook: ChartMogulHook) -> Any:
    return list(hook.list_opportunities())


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        pytest.param(retrieve, Fault("status", status=400), id="an error of the API"),
        pytest.param(retrieve, Fault("reset", times=None), id="no response"),
        pytest.param(retrieve, Fault("html"), id="no JSON"),
        pytest.param(retrieve, NOTHING, id="no opportunity"),
        pytest.param(read_list, NOTHING, id="no list"),
        pytest.param(lambda hook: hook.update_opportunity(UNKNOWN, owner="a@b.cc"), NOTHING, id="no updated one"),
    ],
)
def test_an_error_of_a_request_names_the_connection(call: Call, fault: Fault, sandbox: Sandbox) -> None:
    sandbox.inject_fault(fault)
    with pytest.raises(ChartMogulError) as raised:
        call(ChartMogulHook(max_retries=0))
    assert raised.value.conn_id == "chartmogul_default"
    assert NAMED in str(raised.value)


def test_missing_opportunities_of_many_are_named_with_the_connection(sandbox: Sandbox) -> None:
    with pytest.raises(ChartMogulError, match=r"do not exist: 5\S+ \(connection: chartmogul_default\)\."):
        ChartMogulHook().retrieve_opportunities([UNKNOWN])
    assert sandbox.requests


def test_a_parameter_stands_beside_the_connection(sandbox: Sandbox) -> None:
    sandbox.clear_faults()
    with pytest.raises(ChartMogulError, match=r"\(parameter: opportunity_uuid; connection: chartmogul_default\)\."):
        ChartMogulHook().retrieve_opportunity(UNKNOWN)


@pytest.mark.usefixtures("waits")
def test_a_retry_is_logged_with_the_connection(sandbox: Sandbox, logs: Logs) -> None:
    sandbox.inject_fault(Fault("status", status=503))
    retrieve(ChartMogulHook())
    assert [f"{NAMED} Trying again in" in message for message in logs.messages].count(True) == 1


def test_an_unusable_connection_is_named_once(connect: Connect) -> None:
    connect(password="")
    with pytest.raises(ChartMogulConfigurationError) as raised:
        retrieve(ChartMogulHook())
    assert str(raised.value).count("chartmogul_default") == 1


def test_a_connection_test_names_none_since_airflow_tests_a_copy_under_a_random_id(
    sandbox: Sandbox, connect: Connect
) -> None:
    for key in ("rejected-key", sandbox.seatless_api_key):
        connect(password=key)
        works, message = ChartMogulHook().test_connection()
        assert not works
        assert "chartmogul_default" not in message

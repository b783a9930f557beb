from __future__ import annotations

import base64
import json
import re
import socketserver
import threading
import uuid
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import requests

from airflow_provider_chartmogul import __version__
from airflow_provider_chartmogul.exceptions import (
    ChartMogulConfigurationError,
    ChartMogulInvalidResponseError,
    ChartMogulNotFoundError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Connect

NOT_UUIDS = [
    "../customers",
    "%2e%2e",
    "",
    " ",
    "two words",
    "\n",
    f"{EXAMPLE_OPPORTUNITY_UUID[:8]} {EXAMPLE_OPPORTUNITY_UUID[8:]}",
    EXAMPLE_OPPORTUNITY_UUID.replace("-", ""),
    f"{{{EXAMPLE_OPPORTUNITY_UUID}}}",
    f"{EXAMPLE_OPPORTUNITY_UUID}/../../customers",
    f"{EXAMPLE_OPPORTUNITY_UUID}?x=1",
    None,
    5,
]


def test_the_airflow_connection_is_loaded_once_for_all_requests_of_a_hook(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = ChartMogulHook.get_connection

    def get_connection(conn_id: str) -> Any:
        loaded.append(conn_id)
        return load(conn_id)

    monkeypatch.setattr(ChartMogulHook, "get_connection", staticmethod(get_connection))
    hook = ChartMogulHook()
    for _ in range(2):
        hook.request("GET", "ping")
    hook.close()
    list(hook.list_opportunities())
    hook.retrieve_opportunities([EXAMPLE_OPPORTUNITY_UUID])
    assert len(sandbox.requests) == 4
    assert loaded == ["chartmogul_default"]


@pytest.fixture
def elsewhere() -> Iterator[Sandbox]:
    """Serve a host that must never receive a request."""
    with Sandbox() as sandbox:
        yield sandbox


pytestmark = pytest.mark.usefixtures("sandbox")


@pytest.fixture
def hook() -> Iterator[ChartMogulHook]:
    hook = ChartMogulHook()
    yield hook
    hook.close()


def test_a_request_says_who_sends_it_and_authenticates_with_the_key_alone(
    hook: ChartMogulHook, sandbox: Sandbox
) -> None:
    assert hook.request("get", "ping") == {"data": "pong!"}
    (request,) = sandbox.requests
    assert (request.method, request.path, request.query, request.body) == ("GET", "/v1/ping", {}, None)
    assert request.headers["user-agent"] == (
        f"airflow-provider-chartmogul/{__version__} apache-airflow/{version('apache-airflow')}"
    )
    scheme, _, credentials = request.headers["authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(credentials).decode() == f"{sandbox.api_key}:"


def test_all_requests_share_one_connection(hook: ChartMogulHook, sandbox: Sandbox) -> None:
    session = hook.get_conn()
    for _ in range(3):
        hook.request("GET", "ping")
    assert hook.get_conn() is session
    adapter: Any = session.get_adapter(sandbox.url)
    pools = adapter.poolmanager.pools
    assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118  # it is not a dict


@pytest.mark.parametrize(("extra", "timeout"), [({}, 30), ({"timeout": 7}, 7), ({"timeout": "0.5"}, 0.5)])
def test_every_request_has_a_timeout(
    extra: dict[str, Any], timeout: float, connect: Connect, hook: ChartMogulHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Any] = []
    send = requests.adapters.HTTPAdapter.send

    def spy(*arguments: Any, **options: Any) -> requests.Response:
        used.append(options["timeout"])
        return send(*arguments, **options)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", spy)
    connect(extra=extra)
    hook.request("GET", "ping")
    list(hook.list_opportunities())
    assert used == [timeout, timeout]


def test_a_closed_hook_opens_another_session(hook: ChartMogulHook) -> None:
    session = hook.get_conn()
    hook.close()
    assert hook.get_conn() is not session
    assert hook.request("GET", "ping") == {"data": "pong!"}


def test_parameters_are_encoded_and_none_is_left_out(hook: ChartMogulHook, sandbox: Sandbox) -> None:
    query = {"owner": "grace+emea@example.com", "pipeline": "Köln & Bonn?", "cursor": None, "per_page": 1}
    hook.request("GET", "opportunities", params=query)
    assert sandbox.requests[0].query == {
        "owner": "grace+emea@example.com",
        "pipeline": "Köln & Bonn?",
        "per_page": "1",
    }


def test_a_body_is_sent_as_json(hook: ChartMogulHook, sandbox: Sandbox) -> None:
    changes = {"pipeline_stage": "Negotiation", "custom": [{"key": "from", "value": "Köln"}]}
    payload = hook.request("PATCH", f"opportunities/{EXAMPLE_OPPORTUNITY_UUID}", json=changes)
    assert sandbox.requests[0].body == changes
    assert sandbox.requests[0].headers["content-type"] == "application/json"
    assert payload == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert payload["custom"] == {"from": "Köln"}


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": float("inf")}, {"a": object()}, {"a": {1, 2}}])
def test_what_is_no_json_is_not_sent(body: Any, hook: ChartMogulHook, sandbox: Sandbox) -> None:
    with pytest.raises((ValueError, TypeError)):
        hook.request("POST", "opportunities", json=body)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [(200, "{}", {}), (204, "", None), (200, "", None), (201, "[1]", [1]), (202, "null", None), (200, "5", 5)],
)
def test_any_json_is_returned_and_nothing_is_none(
    status: int, body: str, expected: Any, hook: ChartMogulHook, sandbox: Sandbox
) -> None:
    sandbox.inject_fault(Fault("body", status=status, body=body))
    assert hook.request("DELETE", "customers/cus_1") == expected


def test_numbers_and_text_arrive_as_they_were_sent(hook: ChartMogulHook, sandbox: Sandbox) -> None:
    text = '{"uuid":"x","big":123456789012345678901234567890,"float":0.1,"text":"Köln 🎉 \\u0000","null":null}'
    sandbox.inject_fault(Fault("body", body=text))
    payload = hook.request("GET", "anything")
    assert json.dumps(payload, ensure_ascii=False, separators=(",", ":")) == text


@pytest.mark.parametrize(
    "endpoint",
    [
        "customers",
        "customers/cus_f466e33d-ff2b-4a11-8f85-417eb02157a7/attributes/tags",
        "metrics/mrr",
        "data_sources/ds_1/customers/ext.id:5/subscriptions",
    ],
)
def test_any_plain_path_may_be_requested(endpoint: str, hook: ChartMogulHook, sandbox: Sandbox) -> None:
    with pytest.raises(
        ChartMogulNotFoundError, match=re.escape(f"GET /v1/{endpoint}: HTTP 404: 404 Not Found (connection:")
    ):
        hook.request("GET", endpoint)
    assert sandbox.requests[0].path == f"/v1/{endpoint}"


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        " ",
        "/",
        ".",
        "..",
        "../x",
        "x/..",
        "customers/../x",
        "customers/./x",
        "customers//x",
        "/customers",
        "customers/",
        "customers\n",
        "\ncustomers",
        "cus\ttomers",
        "cus\x00tomers",
        "cus tomers",
        "http://example.com",
        "//example.com/x",
        "\\\\example.com",
        "@example.com",
        "customers?x=1",
        "customers#x",
        "customers;x",
        "%2e%2e",
        "customers/%2e%2e/x",
        "küsten",
        "…",
    ],
)
def test_an_endpoint_that_is_no_plain_path_is_never_requested(
    endpoint: str, hook: ChartMogulHook, sandbox: Sandbox
) -> None:
    with pytest.raises(ValueError, match="endpoint: expected a path below /v1"):
        hook.request("GET", endpoint)
    with pytest.raises(ValueError, match="endpoint: expected a path below /v1"):
        next(hook.paginate(endpoint))
    assert sandbox.requests == []


def test_an_opportunity_is_returned_as_the_server_sent_it(hook: ChartMogulHook, sandbox: Sandbox) -> None:
    expected = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    found = hook.retrieve_opportunity(EXAMPLE_OPPORTUNITY_UUID.upper())
    assert json.dumps(found) == json.dumps(expected)
    assert sandbox.requests[0].path == f"/v1/opportunities/{EXAMPLE_OPPORTUNITY_UUID}"


@pytest.mark.parametrize(
    "given", [uuid.UUID(EXAMPLE_OPPORTUNITY_UUID), f" {EXAMPLE_OPPORTUNITY_UUID}", f"{EXAMPLE_OPPORTUNITY_UUID}\r\n"]
)
def test_a_uuid_may_be_an_object_or_have_white_space_around_it(
    given: Any, hook: ChartMogulHook, sandbox: Sandbox
) -> None:
    expected = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert hook.retrieve_opportunity(given) == expected
    assert hook.update_opportunity(given, currency=expected["currency"])["uuid"] == EXAMPLE_OPPORTUNITY_UUID
    hook.delete_opportunity(given)
    assert {request.path for request in sandbox.requests} == {f"/v1/opportunities/{EXAMPLE_OPPORTUNITY_UUID}"}


@pytest.mark.parametrize("not_uuid", NOT_UUIDS)
def test_a_path_that_is_not_a_uuid_is_never_requested(not_uuid: Any, hook: ChartMogulHook, sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="opportunity_uuid: expected one like"):
        hook.retrieve_opportunity(not_uuid)
    assert sandbox.requests == []


@pytest.mark.parametrize("body", ["[]", "null", '"text"', "5", "{}", '{"uuid":null}', '{"entries":[]}', ""])
def test_what_is_no_opportunity_is_not_returned_as_one(body: str, hook: ChartMogulHook, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body=body))
    with pytest.raises(ChartMogulInvalidResponseError, match="expected a JSON object with a uuid"):
        hook.retrieve_opportunity(EXAMPLE_OPPORTUNITY_UUID)


@pytest.mark.parametrize("host", ["http://example.com", "http://example.com/v1", "http://api.chartmogul.com"])
def test_no_request_leaves_unencrypted(host: str, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    sought: list[Any] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *address, **_: sought.append(address))
    connect(host=host)
    with pytest.raises(ChartMogulConfigurationError, match="'chartmogul_default', host: must be https"):
        ChartMogulHook().request("GET", "ping")
    assert sought == []


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_no_request_leaves_for_the_target_of_a_redirect(
    status: int, hook: ChartMogulHook, sandbox: Sandbox, elsewhere: Sandbox
) -> None:
    sandbox.inject_fault(Fault("redirect", status=status, location=f"{elsewhere.url}/v1/ping", times=None))
    with pytest.raises(ChartMogulInvalidResponseError, match=f"HTTP {status}: .*redirects are not followed") as failure:
        hook.request("GET", "ping")
    assert elsewhere.url not in str(failure.value)
    assert elsewhere.requests == []
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"])
def test_a_proxy_never_sees_a_request_to_this_machine(
    name: str, sandbox: Sandbox, elsewhere: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, elsewhere.url)
    assert ChartMogulHook().request("GET", "ping") == {"data": "pong!"}
    assert elsewhere.requests == []
    assert len(sandbox.requests) == 1


class _Proxy(socketserver.StreamRequestHandler):
    seen: ClassVar[list[bytes]] = []

    def handle(self) -> None:
        self.seen.append(self.request.recv(65536))
        self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")


def test_a_proxy_is_used_beyond_this_machine_but_not_shown_the_key(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(host="https://chartmogul.invalid", extra={"max_retries": 0})
    with socketserver.TCPServer(("127.0.0.1", 0), _Proxy) as proxy:
        proxy.timeout = 10
        serving = threading.Thread(target=proxy.handle_request)
        serving.start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.server_address[1]}")
        with pytest.raises(
            ChartMogulUnreachableError,
            match=r"no response from https://chartmogul\.invalid through the proxy of https_proxy: Tunnel",
        ):
            ChartMogulHook().request("GET", "ping")
        serving.join()
    (request,) = _Proxy.seen
    assert request.startswith(b"CONNECT chartmogul.invalid:443 ")
    assert b"authorization" not in request.lower()


def test_a_netrc_does_not_stand_in_for_the_key(
    hook: ChartMogulHook, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    hook.request("GET", "ping")
    assert sandbox.requests[0].status == 200


def test_a_host_with_a_path_of_its_own_is_kept(connect: Connect, sandbox: Sandbox) -> None:
    connect(host=f"{sandbox.url}/gateway/v1/")
    with pytest.raises(ChartMogulNotFoundError):
        ChartMogulHook().request("GET", "ping")
    assert sandbox.requests[0].path == "/gateway/v1/ping"


def test_the_connection_is_loaded_when_the_first_request_is_sent(connect: Connect) -> None:
    hook = ChartMogulHook("other")
    connect("other")
    assert hook.request("GET", "ping") == {"data": "pong!"}


def test_another_opportunity_than_the_one_requested_is_not_returned(hook: ChartMogulHook, sandbox: Sandbox) -> None:
    other = sandbox.opportunities[1]
    sandbox.inject_fault(Fault("body", body=json.dumps(other)))
    with pytest.raises(ChartMogulInvalidResponseError, match=f"expected opportunity {EXAMPLE_OPPORTUNITY_UUID}"):
        hook.retrieve_opportunity(EXAMPLE_OPPORTUNITY_UUID)

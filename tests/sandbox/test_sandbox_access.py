"""API keys, and the limits on the account."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault, Sandbox
from tests.support.sandbox_client import Client

if TYPE_CHECKING:
    import requests

EXAMPLE_PATH = f"/v1/opportunities/{EXAMPLE_OPPORTUNITY_UUID}"
NO_KEY = {"code": 401, "message": "No valid API key provided", "param": None}


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic %%%",
        "Bearer sandbox-api-key",
        basic("sandbox-api-key"),
        basic("sandbox-api-key:other"),
        basic("wrong:"),
        basic(":"),
        basic(":sandbox-api-key"),
    ],
)
def test_without_a_valid_key_everything_is_401(client: Client, authorization: str | None) -> None:
    client.session.auth = None
    headers = {} if authorization is None else {"Authorization": authorization}

    for path in ("/v1/ping", "/v1/account", EXAMPLE_PATH, "/v1/nowhere"):
        response = client.get(path, headers=headers)
        assert (response.status_code, response.json()) == (401, NO_KEY)
        assert "www-authenticate" not in response.headers


def test_the_password_may_be_empty_or_the_key_itself(client: Client, sandbox: Sandbox) -> None:
    for password in ("", sandbox.api_key):
        client.session.auth = (sandbox.api_key, password)
        assert client.get("/v1/ping").status_code == 200


def test_after_a_rotation_only_the_new_key_is_accepted(client: Client, sandbox: Sandbox) -> None:
    sandbox.rotate_api_key("a-new-key")

    assert client.get("/v1/ping").status_code == 401
    client.session.auth = ("a-new-key", "")
    assert client.get("/v1/ping").status_code == 200
    assert sandbox.connection["password"] == sandbox.api_key == "a-new-key"


@pytest.mark.parametrize("key", ["", "a:b", "schlüssel", "line\nbreak", "sandbox-read-only-api-key"])
def test_a_key_that_could_not_work_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Sandbox(api_key=key)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_key_without_seat_reaches_no_opportunity(client: Client, sandbox: Sandbox, method: str) -> None:
    client.session.auth = (sandbox.seatless_api_key, "")

    response = client.send(method, EXAMPLE_PATH, json={})
    assert response.status_code == 403
    assert response.json() == {
        "code": 403,
        "message": "You need a CRM seat to access opportunities",
        "param": None,
    }
    assert client.get("/v1/opportunities").status_code == 403
    assert client.create().status_code == 403
    assert client.get("/v1/ping").status_code == 200
    assert client.get("/v1/account").status_code == 200


def test_a_read_only_key_reads_but_does_not_write(client: Client, sandbox: Sandbox) -> None:
    before = sandbox.opportunities
    client.session.auth = (sandbox.read_only_api_key, "")

    assert client.get(EXAMPLE_PATH).status_code == 200
    assert client.get("/v1/opportunities").status_code == 200
    for response in (
        client.create(),
        client.update(EXAMPLE_OPPORTUNITY_UUID),
        client.send("DELETE", EXAMPLE_PATH),
    ):
        assert response.status_code == 403
        assert response.json() == {"code": 403, "message": "Your API key is read-only", "param": None}
    assert sandbox.opportunities == before


def test_the_41st_request_in_a_second_is_429() -> None:
    with Sandbox() as sandbox:
        client = Client(sandbox)
        while (response := client.get("/v1/ping")).status_code == 200:
            pass
        *accepted, refused = sandbox.requests

    assert (response.status_code, response.json()) == (
        429,
        {"code": 429, "message": "Your request rate has exceeded our rate limit.", "param": None},
    )
    assert "retry-after" not in response.headers
    # A request is counted slightly after its recorded arrival, hence a little more than a second.
    assert len([request for request in accepted if refused.at - request.at < 1.05]) >= 40


def test_refused_requests_do_not_count_so_that_a_client_that_continues_gets_through() -> None:
    with Sandbox(requests_per_second=1) as sandbox:
        client = Client(sandbox)
        client.get("/v1/ping")
        while client.get("/v1/ping").status_code == 429:
            pass
        first, *refused, last = sandbox.requests

    assert {request.status for request in refused} == {429}
    assert (first.status, last.status) == (200, 200)


def test_no_second_ever_holds_more_than_the_limit() -> None:
    with Sandbox(requests_per_second=10) as sandbox:
        client = Client(sandbox)
        while len(accepted := [r.at for r in sandbox.requests if r.status == 200]) < 15:
            client.get("/v1/ping")

    # A request is counted slightly after its recorded arrival, hence not quite a second.
    assert all(later - earlier > 0.95 for earlier, later in zip(accepted, accepted[10:], strict=False))


def test_all_keys_share_the_rate_limit() -> None:
    with Sandbox(requests_per_second=2) as sandbox:
        client = Client(sandbox)
        statuses = []
        for key in (sandbox.api_key, sandbox.read_only_api_key, sandbox.seatless_api_key):
            client.session.auth = (key, "")
            statuses.append(client.get("/v1/ping").status_code)

    assert statuses == [200, 200, 429]


def test_a_rejected_key_does_not_use_up_the_rate_limit() -> None:
    with Sandbox(requests_per_second=1) as sandbox:
        client = Client(sandbox)
        client.session.auth = ("wrong", "")
        assert [client.get("/v1/ping").status_code for _ in range(3)] == [401] * 3
        client.session.auth = (sandbox.api_key, "")
        assert client.get("/v1/ping").status_code == 200


def test_more_than_20_requests_at_once_are_503(sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("slow", seconds=1.5, times=None))

    def request(_: int) -> requests.Response:
        client = Client(sandbox)
        with client.session:
            return client.get("/v1/ping")

    with ThreadPoolExecutor(25) as pool:
        responses = list(pool.map(request, range(25)))

    refused = [response for response in responses if response.status_code == 503]
    assert {response.status_code for response in responses} == {200, 503}
    assert refused[0].json() == {"code": 503, "message": "Service unavailable", "param": None}


def test_as_many_concurrent_requests_as_the_limit_are_accepted() -> None:
    with Sandbox(max_connections=1) as sandbox:
        assert Client(sandbox).get("/v1/ping").status_code == 200


def test_limits_can_be_switched_off() -> None:
    with Sandbox(requests_per_second=None, max_connections=None, latency=0.3) as sandbox:

        def request(_: int) -> int:
            client = Client(sandbox)
            with client.session:
                return client.get("/v1/ping").status_code

        with ThreadPoolExecutor(60) as pool:
            assert set(pool.map(request, range(60))) == {200}


@pytest.mark.parametrize(
    ("latencies", "of_ping", "of_list"),
    [
        ({"latency": 0.2}, 0.2, 0.2),
        ({"latency": 0.05, "list_latency": 0.2}, 0.05, 0.2),
        ({"list_latency": 0.2}, 0, 0.2),
    ],
)
def test_latency_delays_responses_and_pages(latencies: dict[str, float], of_ping: float, of_list: float) -> None:
    with Sandbox(**latencies) as sandbox:  # type: ignore[arg-type]  # floats, all of them
        client = Client(sandbox)
        ping, page = client.get("/v1/ping"), client.get("/v1/opportunities")

    assert of_ping <= ping.elapsed.total_seconds() < 0.2 + of_ping
    assert page.elapsed.total_seconds() >= of_list

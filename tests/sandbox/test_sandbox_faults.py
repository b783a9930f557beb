"""Faults, as a client meets them."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.support.sandbox_client import Client

EXAMPLE_PATH = f"/v1/opportunities/{EXAMPLE_OPPORTUNITY_UUID}"


def test_status_returns_503_in_the_form_of_the_api_by_default(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status"))

    response = client.get(EXAMPLE_PATH)
    assert response.status_code == 503
    assert response.text == '{"code":503,"message":"Service unavailable","param":null}'
    assert "retry-after" not in response.headers
    assert sandbox.requests[-1].status == 503


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "No valid API key provided"),
        (402, "Payment Required"),
        (429, "Your request rate has exceeded our rate limit."),
        (504, "Gateway Timeout"),
        (599, "Unknown"),
    ],
)
def test_status_has_a_fitting_message(client: Client, sandbox: Sandbox, status: int, message: str) -> None:
    sandbox.inject_fault(Fault("status", status=status))

    assert client.get(EXAMPLE_PATH).json() == {"code": status, "message": message, "param": None}


def test_status_takes_a_message_or_none_at_all(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=500, message="Ouch"))
    sandbox.inject_fault(Fault("status", status=500, message=""))

    assert client.get(EXAMPLE_PATH).json()["message"] == "Ouch"
    assert client.get(EXAMPLE_PATH).content == b""


@pytest.mark.parametrize("retry_after", [3, "Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
def test_retry_after_is_sent_as_given(client: Client, sandbox: Sandbox, retry_after: int | str) -> None:
    sandbox.inject_fault(Fault("status", status=429, retry_after=retry_after))

    assert client.get(EXAMPLE_PATH).headers["retry-after"] == str(retry_after)


def test_slow_delays_the_normal_response(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("slow", seconds=0.3))

    response = client.get(EXAMPLE_PATH)
    assert response.elapsed.total_seconds() >= 0.3
    assert response.json() == sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)


def test_hang_sends_no_response(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("hang"))

    with pytest.raises(requests.ReadTimeout):
        client.get(EXAMPLE_PATH, timeout=0.3)
    assert sandbox.requests[-1].status is None


def test_hang_ends_with_a_closed_connection(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("hang", seconds=0.1))

    with pytest.raises(requests.ConnectionError):
        client.get(EXAMPLE_PATH)


def test_hanging_requests_whose_client_is_gone_do_not_count_as_connections(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("hang", times=None))
    for _ in range(20):
        with pytest.raises(requests.ReadTimeout):
            client.get(EXAMPLE_PATH, timeout=0.05)
    sandbox.clear_faults()

    # The server needs a moment to notice, but far less than the minute of such a fault.
    deadline = time.monotonic() + 20
    while client.get(EXAMPLE_PATH).status_code == 503:
        assert time.monotonic() < deadline


def test_hang_does_not_delay_the_stop(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("hang"))
    with pytest.raises(requests.ReadTimeout):
        client.get(EXAMPLE_PATH, timeout=0.1)

    started = time.monotonic()
    sandbox.stop()
    assert time.monotonic() - started < 5


def test_reset_breaks_the_connection(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("reset"))

    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        client.get(EXAMPLE_PATH)
    assert sandbox.requests[-1].status is None


@pytest.mark.parametrize("after_acting", [False, True])
def test_truncate_announces_more_than_it_sends(client: Client, sandbox: Sandbox, *, after_acting: bool) -> None:
    sandbox.inject_fault(Fault("truncate", after_acting=after_acting))

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        client.get(EXAMPLE_PATH)
    assert sandbox.requests[-1].status is None


def test_html_returns_a_page_with_200_by_default(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("html"))
    sandbox.inject_fault(Fault("html", status=503, retry_after=1))

    page, error = client.get(EXAMPLE_PATH), client.get(EXAMPLE_PATH)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html")
    assert page.text.startswith("<html>")
    assert (error.status_code, error.headers["retry-after"]) == (503, "1")
    assert "503 Service Unavailable" in error.text


def test_redirect_leads_to_its_location(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("redirect", status=307, location="http://127.0.0.1:9/elsewhere"))
    sandbox.inject_fault(Fault("redirect"))

    told, untold = client.get(EXAMPLE_PATH), client.get(EXAMPLE_PATH)
    assert (told.status_code, told.headers["location"]) == (307, "http://127.0.0.1:9/elsewhere")
    assert (untold.status_code, untold.headers["location"]) == (302, "/redirected")


def test_body_returns_its_text(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("body", body='["not an object"]'))
    sandbox.inject_fault(Fault("body", body="{", status=422))

    whole, broken = client.get(EXAMPLE_PATH), client.get(EXAMPLE_PATH)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "application/json")
    assert whole.json() == ["not an object"]
    assert (broken.status_code, broken.text) == (422, "{")


def test_faults_hit_in_the_order_they_were_added_and_as_often_as_given(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=500, times=2))
    sandbox.inject_fault(Fault("status", status=502))

    assert [client.get(EXAMPLE_PATH).status_code for _ in range(4)] == [500, 500, 502, 200]


def test_a_fault_without_end_lasts_until_it_is_cleared(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", times=None))

    assert [client.get(EXAMPLE_PATH).status_code for _ in range(5)] == [503] * 5
    sandbox.clear_faults()
    assert client.get(EXAMPLE_PATH).status_code == 200


def test_a_fault_hits_only_the_method_and_path_it_is_for(client: Client, sandbox: Sandbox) -> None:
    sandbox.inject_fault(Fault("status", status=500, method="patch"))
    sandbox.inject_fault(Fault("status", status=502, path=r"^/v1/opportunities$"))
    sandbox.inject_fault(Fault("status", status=504, path="opportunities/a b"))

    assert client.get(EXAMPLE_PATH).status_code == 200
    assert client.get("/v1/opportunities").status_code == 502
    assert client.get("/v1/opportunities/a%20b").status_code == 504
    assert client.update(EXAMPLE_OPPORTUNITY_UUID, win_likelihood=1).status_code == 500


def test_a_fault_comes_before_the_key_is_checked(client: Client, sandbox: Sandbox) -> None:
    client.session.auth = ("wrong", "")
    sandbox.inject_fault(Fault("status", status=500))

    assert client.get(EXAMPLE_PATH).status_code == 500


@pytest.mark.parametrize("fault", [Fault("status", status=502), Fault("html", status=504), Fault("slow", seconds=0)])
def test_normally_a_fault_means_that_nothing_was_done(client: Client, sandbox: Sandbox, fault: Fault) -> None:
    sandbox.inject_fault(fault)
    status = client.send("DELETE", EXAMPLE_PATH).status_code

    assert len(sandbox.opportunities) == (2 if fault.kind == "slow" else 3)
    assert status == (fault.status or 200)


@pytest.mark.parametrize("kind", ["status", "slow", "hang", "reset", "truncate", "html", "redirect"])
def test_after_acting_the_response_is_lost_but_not_the_request(client: Client, sandbox: Sandbox, kind: Any) -> None:
    sandbox.inject_fault(Fault(kind, after_acting=True, method="DELETE"))

    with suppress(requests.RequestException):
        client.send("DELETE", EXAMPLE_PATH, timeout=0.5)
    assert len(sandbox.opportunities) == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kind": "explode"}, "kind"),
        ({"kind": "status", "status": 99}, "status"),
        ({"kind": "status", "status": 0}, "status"),
        ({"kind": "reset", "status": 500}, "status"),
        ({"kind": "slow", "seconds": -1}, "seconds"),
        ({"kind": "status", "seconds": 1}, "seconds"),
        ({"kind": "hang", "retry_after": 1}, "retry_after"),
        ({"kind": "html", "message": "x"}, "message"),
        ({"kind": "status", "location": "/"}, "location"),
        ({"kind": "status", "body": "x"}, "body"),
        ({"kind": "body"}, "body"),
        ({"kind": "status", "times": 0}, "times"),
        ({"kind": "status", "path": "("}, "path"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_the_option(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}:"):
        Fault(**options)


def test_a_fault_says_in_full_what_it_does(sandbox: Sandbox) -> None:
    fault = Fault("hang")

    assert sandbox.inject_fault(fault) is fault
    assert (fault.status, fault.seconds, fault.times) == (None, 60.0, 1)
    assert (Fault("redirect").status, Fault("body", body="").status) == (302, 200)

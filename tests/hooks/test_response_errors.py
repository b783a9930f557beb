"""The errors that are made of responses: their class, message, parameter and advice."""

from __future__ import annotations

import json
import pickle
import time
from typing import Any

import pytest

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAuthenticationError,
    ChartMogulError,
    ChartMogulInvalidRequestError,
    ChartMogulInvalidResponseError,
    ChartMogulNotFoundError,
    ChartMogulPermissionError,
    ChartMogulRateLimitError,
    ChartMogulUnavailableError,
)
from airflow_provider_chartmogul.hooks._response_errors import error_from_response


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (301, ChartMogulInvalidResponseError),
        (302, ChartMogulInvalidResponseError),
        (304, ChartMogulInvalidResponseError),
        (400, ChartMogulInvalidRequestError),
        (401, ChartMogulAuthenticationError),
        (402, ChartMogulInvalidRequestError),
        (403, ChartMogulPermissionError),
        (404, ChartMogulNotFoundError),
        (405, ChartMogulInvalidRequestError),
        (418, ChartMogulInvalidRequestError),
        (422, ChartMogulInvalidRequestError),
        (408, ChartMogulUnavailableError),
        (425, ChartMogulUnavailableError),
        (429, ChartMogulRateLimitError),
        (500, ChartMogulUnavailableError),
        (502, ChartMogulUnavailableError),
        (503, ChartMogulUnavailableError),
        (504, ChartMogulUnavailableError),
        (520, ChartMogulUnavailableError),
        (599, ChartMogulUnavailableError),
    ],
)
def test_each_status_has_its_error(status: int, expected: type[ChartMogulError]) -> None:
    error = error_from_response("GET", "/v1/opportunities", status, "{}", retry_after=3)
    assert type(error) is expected
    assert (error.method, error.path, error.status) == ("GET", "/v1/opportunities", status)
    assert error.retry_after == 3
    assert error.may_have_acted is (status >= 500)


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        # The gateway's format and those of older services, as recorded.
        ('{"code":401,"message":"No valid API key provided","param":null}', "No valid API key provided", None),
        ('{"code":400,"message":"Parameter \\"name\\" is missing","param":"name"}', 'Parameter "name" is m', "name"),
        ('{"error":"Data source not found"}', "Data source not found", None),
        ('{"errors":{"name":"A name is required."}}', "name: A name is required.", None),
        ('{"errors":["one","two"]}', "one; two", None),
        (
            '{"error":"Invalid UUID passed","error_details":[{"param":"uuid","code":"invalid","message":"Invalid"}]}',
            "Invalid UUID passed",
            "uuid",
        ),
        (
            '{"name":["No name"],"error_details":[{"param":"name","code":"blank","message":"No name"}]}',
            "No name",
            "name",
        ),
        ('{"error_details":["odd", {"message": "better"}]}', "better", None),
        ('{"error_details":"odd","message":"still"}', "still", None),
        # Any other response, for example from a proxy.
        ("404 Not Found", "404 Not Found", None),
        ("", "no message", None),
        ("   \n ", "no message", None),
        ("{}", "no message", None),
        ("null", "None", None),
        ("[1, [2, {}]]", "1; 2; ", None),
        ('"text"', "text", None),
        ('{"message":null,"param":5}', "message: None; param: 5", None),
        ('{"message":{"deep":["er"]}}', "deep: er", None),
        ("{", "{", None),
        ("[" * 100_000, "[[[[", None),
        (
            "<html><title>503 Unavailable</title><style>p {color: red}</style><script>alert(1)</script><p>503</html>",
            "503 Unavailable 503",
            None,
        ),
        ("\x00\ufffd binary", "\ufffd binary", None),
    ],
)
def test_every_shape_of_body_is_read(body: str, message: str, param: str | None) -> None:
    error = error_from_response("GET", "/v1/x", 422, body)
    assert error.message.startswith(message.rstrip())
    assert error.param == param
    assert "alert" not in str(error)
    assert "color" not in str(error)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<!DOCTYPE html>\n<p>Caf&eacute; &amp; &#66;ar&nbsp;&lt;closed&gt;</p>", "Café & Bar <closed>"),
        ("<html><script>alert(1)</script><p>one<p>two<script src=x>more", "one two"),
        ("<html><SCRIPT>alert(1)</SCRIPT ><!-- alert --><style>color</style>one", "one"),
        ("\ufeff  <html><body>one", "one"),
        ("Error:\n<html><head><title>502</title></head><body>Bad gateway", "Error: 502 Bad gateway"),
        ('{"message":"<html><body><h1>Not&nbsp;found</h1><script>alert(1)</script></body></html>"}', "Not found"),
        ('{"message":"a < b and <c>"}', "a < b and <c>"),
        ("<html><script>" + "alert(1);" * 2000 + "</script>Closed for maintenance", "Closed for maintenance"),
    ],
)
def test_a_page_of_html_is_read_as_a_person_would(body: str, message: str) -> None:
    assert error_from_response("GET", "/v1/x", 502, body).message == message


@pytest.mark.parametrize(("length", "shown"), [(499, 499), (500, 500), (501, 500), (70_000, 500)])
def test_a_message_has_500_characters_at_most(length: int, shown: int) -> None:
    message = error_from_response("GET", "/v1/x", 422, "x" * length).message
    assert len(message) == shown
    assert message.endswith("…") is (length > 500)


def test_a_search_without_a_match_is_no_wrong_endpoint() -> None:
    error = error_from_response("GET", "/v1/customers/search", 404, json.dumps({"message": "Can't find any customers"}))
    assert str(error).endswith("Can't find any customers. Nothing matches the query.")


def test_xml_of_a_gateway_is_shown_as_text() -> None:
    body = "<?xml version='1.0'?>\n<Error><Code>SlowDown</Code><Message>Reduce &amp; wait</Message></Error>"
    assert error_from_response("GET", "/v1/x", 503, body).message == "SlowDown Reduce & wait"


def test_control_characters_of_a_response_do_not_reach_a_log() -> None:
    text = "no\x1b[31m\x00 such\r\nstage\u202e\u2028 b\u00fcrgerlich \U0001f600"
    for body in (json.dumps({"message": text, "param": text}), f"<html><body>{text}</body></html>", text):
        shown = str(error_from_response("GET", "/v1/x", 422, body))
        assert shown.isprintable()
        assert "such stage b\u00fcrgerlich \U0001f600" in shown


def test_the_blamed_parameter_is_short_clean_and_on_one_line() -> None:
    body = {"message": "no", "param": "owner\nERROR forged grace@example.com k3y" + "x" * 200}
    error = error_from_response("POST", "/v1/x", 422, json.dumps(body), redact=lambda text: text.replace("k3y", "***"))
    assert error.param is not None
    assert error.param.startswith("owner ERROR forged <email> ***xxx")
    assert len(error.param) == 100


@pytest.mark.parametrize(
    ("path", "body", "advice"),
    [
        # As recorded, or inferred from recorded ones.
        (
            "/v1/opportunities/4ee13ca4-e7fe-11ee-fa7f-f303abf41acc",
            {
                "message": 'Opportunity "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc" does not exist',
                "param": "opportunity_uuid",
            },
            ChartMogulNotFoundError.advice,
        ),
        (
            "/v1/customers/cus_4ee13ca4-e7fe-11ee-fa7f-f303abf41acc",
            {"message": "Customer does not exist", "param": "customer_id"},
            ChartMogulNotFoundError.advice,
        ),
        (
            "/v1/plans/pl_4ee13ca4-e7fe-11ee-fa7f-f303abf41acc",
            {"error": "Plan not found"},
            ChartMogulNotFoundError.advice,
        ),
        (
            "/v1/customers/search",
            {"message": 'Can\'t find any customers with email: "no@email.com"', "param": "email"},
            "Nothing matches the query.",
        ),
        (
            "/v1/costumers",
            "404 Not Found",
            "Check the endpoint: ChartMogul has no such path, or no such object.",
        ),
    ],
)
def test_the_advice_for_a_404_is_about_the_requested_object(path: str, body: Any, advice: str) -> None:
    error = error_from_response("GET", path, 404, body if isinstance(body, str) else json.dumps(body))
    assert error.advice == advice
    assert str(error).endswith(f". {advice}")
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert copied.advice == advice


@pytest.mark.parametrize(
    "text",
    [
        "owner=grace%2Bemea%40example.com",
        "owner=grace%252Bemea%2540example.com",
        r"grace\u0040example.com",
        "grace&#64;example.com",
        "grace&#064;example.com",
        "grace&#x0040;example.com",
        r"grace\x40example.com",
        "<a href='mailto:grace@example.com?x'>",
        "/v1/customers?email=grace%40example.com&x=1",
        "<p>grace&#x40;example.com</p>",
    ],
)
def test_addresses_are_taken_out_in_any_encoding(text: str) -> None:
    for error in (
        error_from_response("GET", "/v1/x", 422, text),
        error_from_response("GET", "/v1/x", 422, json.dumps({"message": text, "param": text})),
        ChartMogulError(text, param=text, path=f"/v1/{text}"),
    ):
        shown = f"{error} {error!r} {vars(error)}"
        assert "grace" not in shown
        assert "example" not in shown


def test_half_an_address_or_key_at_the_cut_is_not_left() -> None:
    for length in range(470, 505):
        body = f"{'x' * length} grace.hopper@example.com {'y' * 200}"
        assert "grace" not in error_from_response("GET", "/v1/x", 422, body).message
        body = f"{'x' * length} k3y-that-0nly-we-know {'y' * 200}"
        redacted = error_from_response(
            "GET", "/v1/x", 422, body, redact=lambda text: text.replace("k3y-that-0nly-we-know", "*")
        )
        assert "k3y" not in redacted.message


@pytest.mark.parametrize("part", ["%25", "a.", "a@", "&#64;", "x", "<p", "<script", "<!--"])
def test_no_text_takes_long_to_clean(part: str) -> None:
    started = time.process_time()
    error_from_response("GET", "/v1/x", 500, part * 60_000)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "body",
    [
        "x" * 5_000_000,
        "<p>" + "x" * 5_000_000,
        "<" * 100_000,
        "<script>" * 50_000,
        json.dumps({"message": "x" * 5_000_000}),
        json.dumps({"errors": [{"message": "wrong"}] * 100_000}),
    ],
    ids=["text", "html", "markup", "scripts", "json", "many"],
)
def test_a_body_of_any_size_is_cut(body: str) -> None:
    error = error_from_response("GET", "/v1/x", 500, body)
    assert len(error.message) <= 500
    assert len(str(error)) < 1000


def test_line_breaks_do_not_get_into_messages() -> None:
    error = error_from_response("GET", "/v1/x", 500, json.dumps({"message": "a\nERROR forged log line\r\n\tb"}))
    assert error.message == "a ERROR forged log line b"


def test_the_blamed_parameter_is_named() -> None:
    error = error_from_response("POST", "/v1/x", 422, '{"message":"is no email","param":"owner"}')
    assert error.summary == "POST /v1/x: HTTP 422: is no email (parameter: owner)."


@pytest.mark.parametrize("address", ["ada@example.com", "grace+emea@example.co.uk", "o'hara@example.com", "ä@ö.com"])
@pytest.mark.parametrize("text", ["User {} does not exist", '"{}" is taken', "<{}>", "owner={}&x=1", "({})", "{}"])
def test_email_addresses_are_taken_out(text: str, address: str) -> None:
    error = error_from_response("GET", "/v1/x", 422, json.dumps({"message": text.format(address)}))
    for shown in (str(error), repr(error), error.message, error.summary, str(error.args)):
        assert address not in shown
        assert "example" not in shown
    assert "<email>" in error.message


def test_errors_survive_being_copied_between_processes() -> None:
    error = error_from_response("GET", "/v1/x", 429, '{"message":"slow down"}', retry_after=7)
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(copied) is ChartMogulRateLimitError
    assert str(copied) == str(error)
    assert copied.retry_after == 7

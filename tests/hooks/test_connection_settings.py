from __future__ import annotations

import base64
import html
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_chartmogul.exceptions import ChartMogulConfigurationError
from airflow_provider_chartmogul.hooks._connection_settings import ConnectionSettings
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Connect

KEY = "a1b2c3d4e5f6"
NUMBERS = ["timeout", "max_retries", "max_concurrent_requests", "max_requests_per_second", "closed_poll_rounds"]


def read(**fields: Any) -> ConnectionSettings:
    extra = fields.pop("extra", None)
    if isinstance(extra, dict):
        extra = json.dumps(extra)
    fields = {"conn_id": "crm", "conn_type": "chartmogul", "password": KEY, "extra": extra, **fields}
    return ConnectionSettings.from_connection(Connection(**fields))


def test_only_the_key_is_needed() -> None:
    settings = read()
    assert settings.base_url == "https://api.chartmogul.com/v1"
    assert settings.api_key == KEY
    assert (settings.timeout, settings.max_retries) == (30.0, 5)


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        (None, "https://api.chartmogul.com/v1"),
        ("", "https://api.chartmogul.com/v1"),
        ("  ", "https://api.chartmogul.com/v1"),
        ("api.chartmogul.com", "https://api.chartmogul.com/v1"),
        ("https://api.chartmogul.com", "https://api.chartmogul.com/v1"),
        ("https://api.chartmogul.com/", "https://api.chartmogul.com/v1"),
        ("https://api.chartmogul.com/v1", "https://api.chartmogul.com/v1"),
        ("https://api.chartmogul.com/v1/", "https://api.chartmogul.com/v1"),
        (" https://api.chartmogul.com/v1 ", "https://api.chartmogul.com/v1"),
        ("HTTPS://API.ChartMogul.com", "https://api.chartmogul.com/v1"),
        ("api.chartmogul.com/v1", "https://api.chartmogul.com/v1"),
        ("api.chartmogul.com:8443", "https://api.chartmogul.com:8443/v1"),
        ("https://gateway.example.com/chartmogul", "https://gateway.example.com/chartmogul/v1"),
        ("https://gateway.example.com/chartmogul/v1", "https://gateway.example.com/chartmogul/v1"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/v1"),
        ("http://localhost:8765", "http://localhost:8765/v1"),
        ("http://LOCALHOST", "http://localhost/v1"),
        ("http://127.0.0.1:8765/v1", "http://127.0.0.1:8765/v1"),
        ("http://127.8.9.10", "http://127.8.9.10/v1"),
        ("http://[::1]:8765", "http://[::1]:8765/v1"),
        ("http://[::1]", "http://[::1]/v1"),
    ],
)
def test_the_host_may_be_written_in_many_ways(host: str | None, base_url: str) -> None:
    assert read(host=host).base_url == base_url


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("https://api.chartmogul.com", False),
        ("https://localhost.example.com", False),
        ("https://127.0.0.1.example.com", False),
        ("https://10.0.0.1", False),
        ("https://[2001:db8::1]", False),
        ("http://localhost", True),
        ("https://localhost", True),
        ("http://127.1.2.3", True),
        ("http://[::1]:80", True),
    ],
)
def test_what_is_on_this_machine_is_known(host: str, is_loopback: bool) -> None:  # noqa: FBT001  # a column
    assert read(host=host).is_loopback is is_loopback


@pytest.mark.parametrize("port", [None, 0])
def test_no_port_and_port_0_mean_the_usual_one(port: int | None) -> None:
    assert read(host="http://localhost", port=port).base_url == "http://localhost/v1"


def test_a_port_is_added_unless_the_host_has_one() -> None:
    assert read(host="http://localhost", port=8765).base_url == "http://localhost:8765/v1"
    assert read(host="http://localhost:1234", port=8765).base_url == "http://localhost:1234/v1"


@pytest.mark.parametrize(
    "host",
    [
        "http://example.com",
        "http://api.chartmogul.com",
        "HTTP://api.chartmogul.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://localhost@example.com",
        "http://2130706433.example.com",
        "http://[2001:db8::1]",
        "http://0.0.0.0",
        "http://10.0.0.1:8765",
    ],
)
def test_plain_http_is_refused_where_others_could_listen(host: str) -> None:
    with pytest.raises(ChartMogulConfigurationError, match="'crm', host: "):
        read(host=host)


@pytest.mark.parametrize(
    "host",
    [
        "ftp://api.chartmogul.com",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "//",
        "https://api.chartmogul.com?x=1",
        "https://api.chartmogul.com/#x",
        "https://api.chartmogul.com/a b",
        "https://api.chart mogul.com",
        "https://api.chartmogul.com\n.example.com",
        "https://api.chart\tmogul.com",
        "https://api.chartmogul.com/%2e%2e",
        "https://api.chartmogul.com//x",
        "https://api.chartmogul.com:port",
        "https://api.chartmogul.com:99999",
        "https://[::1",
        f"https://{KEY}@api.chartmogul.com",
        f"https://{KEY}:@api.chartmogul.com",
        f"https://user:{KEY}@api.chartmogul.com",
        "https://api.chartmogul.com\\@example.com",
        "https:/api.chartmogul.com",
        "http:/localhost",
        "https:api.chartmogul.com",
        "https//api.chartmogul.com",
        "HTTPS:/api.chartmogul.com",
        "https",
        "https:80/api.chartmogul.com",
        f"api.chartmogul.com:{KEY}",
        f"https://{KEY}:443:x",
        "api.chartmogul.com:k3y-in-the-wr0ng-place",
        "api.chartmogul.com:65536",
    ],
)
def test_what_is_no_address_is_refused_and_no_key_in_it_is_shown(host: str) -> None:
    with pytest.raises(ChartMogulConfigurationError, match="Airflow connection 'crm', host: ") as refusal:
        read(host=host)
    assert KEY not in str(refusal.value)
    assert "wr0ng" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("password", [None, "", "   "])
def test_a_missing_key_is_named(password: str | None) -> None:
    with pytest.raises(
        ChartMogulConfigurationError, match="Airflow connection 'crm', password: missing; put the"
    ) as refusal:
        read(password=password)
    assert "login" not in str(refusal.value)


def test_a_key_in_the_wrong_field_is_pointed_out_but_not_shown() -> None:
    with pytest.raises(ChartMogulConfigurationError, match=r"password: missing.*in the login field") as refusal:
        read(password=None, login=KEY)
    assert KEY not in str(refusal.value)


@pytest.mark.parametrize("password", ["with space", "päss", "line\nbreak", "\x00", "tab\tbed"])
def test_what_cannot_be_a_key_is_refused_but_not_shown(password: str) -> None:
    with pytest.raises(ChartMogulConfigurationError, match="'crm', password: not an API key") as refusal:
        read(password=password)
    assert password not in str(refusal.value)


def test_white_space_around_the_key_is_a_slip_of_the_clipboard() -> None:
    assert read(password=f" {KEY}\n").api_key == KEY


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [None, ""])
def test_nulls_and_empty_strings_in_extra_mean_the_default(name: str, value: str | None) -> None:
    assert read(extra={name: value}) == read()


@pytest.mark.parametrize("extra", [None, "", "{}"])
def test_no_extra_means_the_defaults(extra: str | None) -> None:
    settings = read(extra=extra)
    assert [getattr(settings, name) for name in NUMBERS] == [30, 5, 10, 20, 10]


@pytest.mark.parametrize(("value", "seconds"), [(5, 5.0), ("5", 5.0), (0.5, 0.5), ("0.5", 0.5), (" 7 ", 7.0)])
def test_the_timeout_may_be_a_number_or_a_string(value: Any, seconds: float) -> None:
    assert read(extra={"timeout": value}).timeout == seconds


@pytest.mark.parametrize(("value", "times"), [(0, 0), ("0", 0), (3, 3), ("3", 3), (3.0, 3), ("3.0", 3)])
def test_retries_may_be_a_number_or_a_string(value: Any, times: int) -> None:
    retries = read(extra={"max_retries": value}).max_retries
    assert retries == times
    assert type(retries) is int


@pytest.mark.parametrize("value", ["soon", -1, "-1", True, False, [], {}, "nan", "inf", "1e999", "5 s"])
def test_a_bad_number_is_refused_by_field(value: Any) -> None:
    for name in NUMBERS:
        message = f"Airflow connection 'crm', extra field {name}: expected"
        with pytest.raises(ChartMogulConfigurationError, match=message):
            read(extra={name: value})


@pytest.mark.parametrize(
    "name", ["timeout", "max_concurrent_requests", "max_requests_per_second", "closed_poll_rounds"]
)
def test_nothing_at_all_is_refused_where_it_would_be_the_end(name: str) -> None:
    with pytest.raises(ChartMogulConfigurationError, match=f"'crm', extra field {name}: expected a number from"):
        read(extra={name: 0})


@pytest.mark.parametrize("name", ["timeout", "max_requests_per_second"])
def test_the_least_number_is_a_thousandth(name: str) -> None:
    assert getattr(read(extra={name: 0.001}), name) == 0.001
    with pytest.raises(ChartMogulConfigurationError, match=f"extra field {name}: expected a number from 0.001 up"):
        read(extra={name: 0.0009})


@pytest.mark.parametrize("name", ["max_retries", "max_concurrent_requests", "closed_poll_rounds"])
def test_what_is_counted_must_be_whole(name: str) -> None:
    with pytest.raises(ChartMogulConfigurationError, match=f"'crm', extra field {name}: expected a whole number"):
        read(extra={name: 1.5})


@pytest.mark.parametrize("extra", [[], 5, "text", None])
def test_an_extra_that_is_no_object_names_the_connection(extra: Any) -> None:
    connection = SimpleNamespace(
        conn_id="crm", host=None, port=None, login=None, password=KEY, extra_dejson=extra, conn_type="chartmogul"
    )
    with pytest.raises(ChartMogulConfigurationError, match="Airflow connection 'crm', extra: expected a JSON object"):
        ConnectionSettings.from_connection(connection)  # type: ignore[arg-type]  # the like of one


@pytest.mark.parametrize("extra", ["[]", "5", '"text"'])
def test_an_extra_that_is_no_object_is_refused_by_field(
    extra: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_CRM",
        json.dumps({"conn_type": "chartmogul", "password": KEY, "host": sandbox.url, "extra": extra}),
    )
    # Airflow 3.0 and 3.1 treat a connection that they cannot parse as undefined.
    with pytest.raises(Exception, match=r"extra|JSON object|isn't defined"):
        ChartMogulHook("crm").request("GET", "ping")
    assert sandbox.requests == []


def test_unknown_extras_are_left_alone() -> None:
    assert read(extra={"something": "else"}) == read()


def test_the_key_is_in_no_repr() -> None:
    settings = read()
    assert KEY not in repr(settings)
    assert KEY not in str(settings)


@pytest.mark.parametrize("key", ["k3y+/=?&<>\"'%", "a1b2c3d4e5f6", "ab", "abcd", "abcde", "$&*.\\^|()[]{}"])
def test_the_key_is_taken_out_of_text_in_any_encoding(key: str) -> None:
    header = base64.b64encode(f"{key}:".encode()).decode()
    twice = base64.b64encode(f"{key}:{key}".encode()).decode()
    encoded = [
        key,
        quote(key, safe=""),
        quote(quote(key, safe=""), safe=""),
        quote(key, safe="").lower(),
        json.dumps(key)[1:-1],
        json.dumps(key).replace("/", "\\/")[1:-1],
        "".join(f"\\u{ord(character):04x}" for character in key),
        "".join(f"%{ord(character):02X}" for character in key),
        "".join(f"&#{ord(character)};" for character in key),
        html.escape(key),
        html.escape(html.escape(key)),
        "".join(f"&amp;#{ord(character)};" for character in key),
        "".join(f"&#x{ord(character):X}" for character in key),
        key.replace("-", "&#45;").replace("_", "&lowbar;").replace("/", "&sol;").replace("+", "&plus;"),
        "".join(f"\\\\u{ord(character):04x}" for character in key),
        json.dumps(json.dumps(json.dumps(key)))[7:-7],
        key.encode().hex(),
        header,
        quote(quote(header)),
        quote(header, safe=""),
        header.rstrip("="),
        twice,
    ]
    for text in encoded:
        assert read(password=key).redact(f"before {text} after") == "before *** after"


@pytest.mark.parametrize("rest", ["", "*", "\\", "%", "&"])
def test_most_of_a_key_in_a_text_takes_no_exponential_time(rest: str) -> None:
    key = "a1b2c3d4e5f60718" * 4
    text = f"{key[:-1]}{rest} " * 100
    assert read(password=key).redact(text) == text


def test_what_is_not_the_key_is_left() -> None:
    text = "Basic a1b2c3d4e5f, 100% of a1b2, and nothing else"
    assert read().redact(text) == text


def test_the_key_and_its_header_are_taken_out_of_text() -> None:
    header = base64.b64encode(f"{KEY}:".encode()).decode()
    cleaned = read().redact(f"Key {KEY}, header Basic {header}.")
    assert cleaned == "Key ***, header Basic ***."


@pytest.mark.parametrize(
    "uri",
    [
        "chartmogul://:{key}@{host}:{port}?timeout=5&max_retries=0",
        "chartmogul://:{key}@http%3A%2F%2F{host}%3A{port}/?timeout=5&max_retries=0",
        "chartmogul://:{key}@http%3A%2F%2F{host}%3A{port}%2Fv1?timeout=&max_retries=0",
    ],
)
def test_a_connection_may_be_a_uri(uri: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = uri.format(key=sandbox.api_key, host="127.0.0.1", port=sandbox.port)
    monkeypatch.setenv("AIRFLOW_CONN_CRM", uri)
    if "http%3A" in uri:
        assert ChartMogulHook("crm").request("GET", "ping") == {"data": "pong!"}
    else:
        # Without a scheme it is https, which the sandbox does not speak.
        with pytest.raises(Exception, match=r"no response from https://127\.0\.0\.1"):
            ChartMogulHook("crm").request("GET", "ping")


def test_a_connection_may_be_json_as_the_form_stores_it(connect: Connect, sandbox: Sandbox) -> None:
    connect(login="", schema="", port=0, extra=json.dumps({"timeout": None, "max_retries": "1"}))
    assert ChartMogulHook().request("GET", "ping") == {"data": "pong!"}
    assert len(sandbox.requests) == 1


EXTRA = {"timeout": 7, "max_retries": 2, "max_concurrent_requests": 3, "max_requests_per_second": 4.5}


@pytest.mark.parametrize(
    "host", ["api.chartmogul.com", "https://gateway.example.com/chartmogul", "http://localhost:8765"]
)
@pytest.mark.parametrize("port", [None, 8443])
def test_a_connection_survives_the_forms_that_other_tools_write_it_in(
    host: str, port: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "k3y+/=?&%#@:"
    written = Connection(
        conn_id="crm", conn_type="chartmogul", host=host, port=port, password=key, extra=json.dumps(EXTRA)
    )
    expected = ConnectionSettings.from_connection(written)
    assert (expected.api_key, expected.timeout, expected.max_requests_per_second) == (key, 7.0, 4.5)
    plain = {"conn_type": "chartmogul", "host": host, "port": port, "password": key}
    for form in (
        written.get_uri(),
        json.dumps({**plain, "extra": EXTRA}),
        json.dumps({**plain, "extra": json.dumps(EXTRA)}),
        json.dumps({**plain, "extra": {name: str(value) for name, value in EXTRA.items()}}),
    ):
        monkeypatch.setenv("AIRFLOW_CONN_CRM", form)
        assert ConnectionSettings.from_connection(ChartMogulHook.get_connection("crm")) == expected

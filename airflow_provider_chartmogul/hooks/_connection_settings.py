"""The validated settings of an Airflow connection of type ``chartmogul``."""

from __future__ import annotations

import base64
import functools
import ipaddress
import math
import re
from dataclasses import dataclass, field
from html.entities import html5
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_chartmogul.exceptions import ChartMogulConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

DEFAULT_HOST = "https://api.chartmogul.com"

_API_KEY = re.compile(r"[!-~]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
_URL_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """
    The settings of one connection.

    :param base_url: address of the API, ending in ``/v1``
    :param is_loopback: whether that address is on this machine
    :param api_key: ChartMogul API key
    :param timeout: seconds after which a request without a complete response fails
    :param max_retries: maximum number of retries of a failed request
    :param max_concurrent_requests: maximum number of a triggerer's requests in flight
    :param max_requests_per_second: maximum number of requests that a triggerer sends in a second
    :param closed_poll_rounds: parts of the list that hold only won and lost opportunities are read once in this
        number of poll rounds; 1: in each round
    """

    base_url: str
    is_loopback: bool
    api_key: str = field(repr=False)
    timeout: float = 30.0
    max_retries: int = 5
    # Half of an account's limits, to leave capacity for other clients.
    max_concurrent_requests: int = 10
    max_requests_per_second: float = 20.0
    closed_poll_rounds: int = 10

    def redact(self, text: str) -> str:
        """Remove the API key, and the header made of it, from a text of other origin, in any encoding."""
        return _secret_pattern(self.api_key).sub("***", text)

    @classmethod
    def from_connection(cls, connection: Connection) -> ConnectionSettings:
        """
        Read and validate a connection.

        The connection form and the URI form store nulls, empty strings, and numbers as strings.

        :raises ChartMogulConfigurationError: naming the connection and the field that is wrong
        """
        try:
            base_url, is_loopback = _read_base_url(connection)
            extra = connection.extra_dejson
            if not isinstance(extra, dict):
                raise ValueError("extra: expected a JSON object")
            api_key = _read_api_key(connection)
            numbers: dict[str, Any] = {
                "timeout": _read_number(extra, "timeout", minimum=0.001),
                "max_retries": _read_integer(extra, "max_retries", minimum=0),
                "max_concurrent_requests": _read_integer(extra, "max_concurrent_requests", minimum=1),
                "max_requests_per_second": _read_number(extra, "max_requests_per_second", minimum=0.001),
                "closed_poll_rounds": _read_integer(extra, "closed_poll_rounds", minimum=1),
            }
            given = {name: number for name, number in numbers.items() if number is not None}
            return cls(base_url, is_loopback, api_key, **given)
        except ValueError as error:
            message = f"Airflow connection {connection.conn_id!r}, {error}"
            raise ChartMogulConfigurationError(message) from None


@functools.lru_cache(maxsize=16)
def _secret_pattern(api_key: str) -> re.Pattern[str]:
    # Base64 encodes three bytes as four characters; the last ones depend on the bytes after the key.
    beginning = api_key[: len(api_key) // 3 * 3] or f"{api_key}:"
    header = base64.b64encode(beginning.encode()).decode().rstrip("=")
    key_pattern, header_pattern = ("".join(map(_in_any_encoding, text)) for text in (api_key, header))
    base64_rest = r"(?:[A-Za-z0-9+/=_-]|%(?:25)*(?:2B|2F|3D))*"
    return re.compile(rf"{key_pattern}|{api_key.encode().hex()}|{header_pattern}{base64_rest}", re.IGNORECASE)


def _in_any_encoding(character: str) -> str:
    """Return a pattern of a character: as it is, or encoded for a URL, for JSON or for HTML, once or repeatedly."""
    # No two alternatives match the same text: else the search takes exponential time in a text with most of the key.
    code = f"{ord(character):x}"
    names = "".join(f"|{name}" for name, text in html5.items() if text == character and name.endswith(";"))
    return (
        rf"(?:%(?:25)*{code}|\\{{1,8}}(?:u00|x){code}|&(?:amp;)*(?:#0*{ord(character)};?|#x0*{code};?{names})"
        rf"|\\{{0,8}}{re.escape(character)})"
    )


def _read_api_key(connection: Connection) -> str:
    api_key = (connection.password or "").strip()
    if not api_key:
        hint = " (it is in the login field now)" if connection.login else ""
        raise ValueError(f"password: missing; put the ChartMogul API key there{hint}")
    if not _API_KEY.fullmatch(api_key):
        raise ValueError("password: not an API key; it has spaces or characters outside ASCII")
    return api_key


def _read_base_url(connection: Connection) -> tuple[str, bool]:
    given = (connection.host or "").strip() or DEFAULT_HOST
    try:
        url = urlsplit(given if "://" in given else f"https://{given}")
        host, port = url.hostname or "", url.port or connection.port or None
    except ValueError:
        # Without Python's message, which shows the part that should be a port, and may be the key.
        raise ValueError(f"host: expected an address like {DEFAULT_HOST}, or with a port from 1 to 65535") from None
    if url.username is not None or url.password is not None:
        raise ValueError("host: must not hold a user name or key; put the API key in the password field")
    is_ipv6 = ":" in host
    path = url.path.rstrip("/").removesuffix("/v1")
    # urlsplit drops line breaks and tabs, and so would join two lines to another host.
    is_well_formed = given.isprintable() and (is_ipv6 or _HOST_NAME.fullmatch(host)) and _URL_PATH.fullmatch(path)
    # With one slash less, as in https:/api.chartmogul.com, the scheme would be the host.
    is_scheme = host in ("http", "https")
    if is_scheme or url.scheme not in ("https", "http") or url.query or url.fragment or not is_well_formed:
        raise ValueError(f"host: expected an address like {DEFAULT_HOST}")
    is_loopback = _is_loopback(host)
    if url.scheme == "http" and not is_loopback:
        raise ValueError("host: must be https, since http sends the API key in clear; only localhost may be http")
    authority = f"[{host}]" if is_ipv6 else host
    return f"{url.scheme}://{authority}{f':{port}' if port else ''}{path}/v1", is_loopback


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_number(extra: dict[str, Any], name: str, *, minimum: float) -> float | None:
    value = extra.get(name)
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < minimum:
        raise ValueError(f"extra field {name}: expected a number from {minimum} up, not {value!r}")
    return number


def _read_integer(extra: dict[str, Any], name: str, *, minimum: int) -> int | None:
    number = _read_number(extra, name, minimum=minimum)
    if number is not None and not number.is_integer():
        raise ValueError(f"extra field {name}: expected a whole number, not {number}")
    return None if number is None else int(number)

"""One request over a session, with the response's JSON or the error as the result."""

from __future__ import annotations

import json
import os
import re
import ssl
import sys
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from airflow import __version__ as airflow_version
from requests.utils import get_environ_proxies, select_proxy

from airflow_provider_chartmogul import __version__
from airflow_provider_chartmogul.exceptions import (
    ChartMogulConfigurationError,
    ChartMogulError,
    ChartMogulInvalidResponseError,
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.hooks._response_errors import error_from_response
from airflow_provider_chartmogul.hooks._transport import (
    Adapter,
    Exchange,
    ResponseTooLargeError,
    Session,
    UnknownEncodingError,
    bounded,
    read_beginning,
    read_body,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_chartmogul.hooks._connection_settings import ConnectionSettings

_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_CA_ADVICE = (
    "If a proxy or gateway uses its own certificate authority, set REQUESTS_CA_BUNDLE to the file of that "
    "authority's certificate."
)


class Client:
    """
    A session and its settings.

    :param settings: those of the Airflow connection
    :param decode: parses a response body; ``ValueError`` from it means that the body is not JSON
    """

    def __init__(self, settings: ConnectionSettings, decode: Callable[[bytes], Any] = json.loads) -> None:
        self.settings = settings
        self._decode = decode
        self.session = _new_session(settings)

    def close(self) -> None:
        """Close the session's connections."""
        self.session.close()

    def send(
        self, method: str, endpoint: str, query: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Any:
        """
        Send a request once and return the response's JSON, parsed, or None if the response is empty.

        :param method: HTTP method
        :param endpoint: path below ``/v1``
        :param query: query parameters
        :param body: JSON
        :raises ChartMogulError: unless a complete response of 2xx comes in time
        """
        request: dict[str, Any] = {"method": method, "path": f"/v1/{endpoint}"}
        handled_before = sys.exception()
        # Raised outside of the handlers: an error of a library, which may hold the query, the header or the body, would
        # stay its context.
        failure: ChartMogulError | None = None
        with bounded(self.settings.timeout) as exchange:
            try:
                with self.session.request(
                    method,
                    f"{self.settings.base_url}/{endpoint}",
                    params=query,
                    data=body,
                    headers=None if body is None else {"Content-Type": "application/json"},
                    timeout=self.settings.timeout,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    is_error = not 200 <= response.status_code < 300
                    content = read_beginning(response) if is_error else read_body(response)
            except (ResponseTooLargeError, UnknownEncodingError) as error:
                failure = ChartMogulInvalidResponseError(str(error), may_have_acted=True, **request)
            except Exception as error:  # noqa: BLE001  # requests does not wrap all errors of urllib3 and of the system
                failure = self._failure(error, handled_before, exchange, request)
        if failure is not None:
            raise failure
        if is_error:
            raise error_from_response(
                status=response.status_code,
                body=content.decode(errors="replace"),
                retry_after=_retry_after(response),
                redact=self.settings.redact,
                **request,
            )
        with suppress(ValueError, RecursionError):
            return self._decode(content) if content else None
        message = f"expected JSON, got {len(content)} bytes of {response.headers.get('Content-Type')}"
        raise ChartMogulInvalidResponseError(
            self.settings.redact(message), status=response.status_code, may_have_acted=True, **request
        )

    def _failure(
        self, error: Exception, handled_before: BaseException | None, exchange: Exchange, request: dict[str, Any]
    ) -> ChartMogulError:
        """Return the error for a request without a complete response."""
        settings = self.settings
        cause = _root_cause(error, handled_before)
        proxy_variable = _proxy_variable(settings.base_url) if self.session.trust_env else None
        if not exchange.has_sent:
            if isinstance(error, ValueError | TypeError | AssertionError) and proxy_variable:
                # The address is not shown: with an unquoted # or /, any part of it may be the password.
                return ChartMogulConfigurationError(
                    f"{proxy_variable}: not the address of a proxy that can be used; percent-encode special characters "
                    "in its user name and password"
                )
            if (ca_variable := _ca_variable()) and _is_about_ca_file(error, cause):
                message = f"{ca_variable}: {os.environ[ca_variable]!r} does not exist, or holds no certificates"
                return ChartMogulConfigurationError(message)
        if isinstance(cause, TimeoutError):
            reason = f"timed out after {settings.timeout:g} s"
        elif proxy_variable and not isinstance(cause, OSError):
            reason = type(cause).__name__
        else:
            reason = getattr(cause, "strerror", None) or " ".join(str(cause).split()) or type(cause).__name__
        through = f" through the proxy of {proxy_variable}" if proxy_variable else ""
        host = settings.base_url.removesuffix("/v1")
        return ChartMogulUnreachableError(
            settings.redact(f"no response from {host}{through}: {reason}"),
            may_have_acted=exchange.has_sent,
            advice=_CA_ADVICE if isinstance(cause, ssl.SSLCertVerificationError) else None,
            **request,
        )


def _new_session(settings: ConnectionSettings) -> requests.Session:
    """Return a session that authenticates, keeps connections alive and follows no redirect."""
    session = Session()
    session.auth = (settings.api_key, "")
    session.headers["User-Agent"] = f"airflow-provider-chartmogul/{__version__} apache-airflow/{airflow_version}"
    session.headers["Accept-Encoding"] = "gzip"  # which is decompressed with a limit
    if settings.is_loopback:
        # A proxy cannot reach this machine's loopback, and must not receive the key.
        session.trust_env = False
        session.verify = os.environ.get(_ca_variable() or "") or True
    adapter = Adapter(pool_maxsize=settings.max_concurrent_requests)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _root_cause(error: BaseException, handled_before: BaseException | None) -> BaseException:
    """Return the error of the operating system, or of the innermost library."""
    # The caller may be handling another error, which is then the context of every error raised here.
    while (cause := error.__cause__ or error.__context__) and cause is not handled_before:
        error = cause
    return error


def _is_about_ca_file(error: Exception, cause: BaseException) -> bool:
    if isinstance(error, requests.RequestException):
        return isinstance(cause, ssl.SSLError) and bool(re.search(r"X509|PEM|NO_CERTIFICATE", str(cause)))
    return isinstance(error, OSError)


def _ca_variable() -> str | None:
    return next((name for name in _CA_VARIABLES if os.environ.get(name)), None)


def _proxy_variable(url: str) -> str | None:
    """Return the name of the variable that sets a request's proxy; None if it uses no proxy."""
    if not select_proxy(url, get_environ_proxies(url)):
        return None
    names = (f"{urlsplit(url).scheme}_proxy", "all_proxy")
    variables = (variable for name in names for variable in (name, name.upper()))
    return next((variable for variable in variables if os.environ.get(variable)), "the system's settings")


def _retry_after(response: requests.Response) -> float | None:
    """Return a response's ``Retry-After`` in seconds, if it has one."""
    header = response.headers.get("Retry-After", "").strip()
    try:
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", header):
            return float(header)
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):  # neither a number nor a date, or one beyond all bounds
        return None

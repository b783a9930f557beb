"""The hook: every request to ChartMogul goes through it."""

from __future__ import annotations

import itertools
import json as jsonlib
import time
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_chartmogul.exceptions import (
    ChartMogulError,
    ChartMogulInvalidResponseError,
    ChartMogulNotFoundError,
    ChartMogulPermissionError,
)
from airflow_provider_chartmogul.get_provider_info import get_provider_info
from airflow_provider_chartmogul.hooks._response_errors import check_opportunity, on_connection
from airflow_provider_chartmogul.hooks._retries import backoff_delay, is_retried
from airflow_provider_chartmogul.opportunity._requests import create_body, list_query, update_body
from airflow_provider_chartmogul.opportunity._values import check_opportunity_uuid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Unpack
    from uuid import UUID

    import requests

    from airflow_provider_chartmogul.hooks._client import Client
    from airflow_provider_chartmogul.hooks._connection_settings import ConnectionSettings
    from airflow_provider_chartmogul.hooks._paging import CursorPaginator
    from airflow_provider_chartmogul.hooks._retrieve_many import Pace
    from airflow_provider_chartmogul.opportunity import NewOpportunity, OpportunityChanges, OpportunityFilters


class ChartMogulHook(BaseHook):
    """
    Talk to ChartMogul's REST API, documented at https://dev.chartmogul.com/reference/introduction.

    The Airflow connection holds the API key in ``password``, optionally another ``host`` than
    https://api.chartmogul.com, and in ``extra`` optionally ``timeout`` (seconds, default 30), ``max_retries``
    (default 5), and for all waits and watchers of a triggerer together ``max_concurrent_requests`` (default 10),
    ``max_requests_per_second`` (default 20) and ``closed_poll_rounds`` (default 10). It is loaded when the first
    request is sent.

    A request fails if its response is not complete within ``timeout``, or is larger than 32 MB. GET, PATCH, PUT and
    DELETE are retried after network errors and the statuses 429, 500, 502, 503, 504, 520 and 524; POST only if
    ChartMogul cannot have acted: no connection was established, or the status was 429. The backoff grows from half a
    second to a minute and respects ``Retry-After``; if that exceeds a minute, the error is raised immediately.
    Redirects are not followed.

    Every method that sends a request raises :class:`~airflow_provider_chartmogul.exceptions.ChartMogulError`.

    :param chartmogul_conn_id: the Airflow connection to use
    :param max_retries: overrides the connection's ``max_retries``
    """

    conn_name_attr = "chartmogul_conn_id"
    default_conn_name = "chartmogul_default"
    conn_type = "chartmogul"
    hook_name = "ChartMogul"

    def __init__(self, chartmogul_conn_id: str = default_conn_name, *, max_retries: int | None = None) -> None:
        super().__init__()
        self.chartmogul_conn_id = chartmogul_conn_id
        self._max_retries = max_retries

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Describe the standard fields of the connection form to Airflow before 3.2."""
        behaviour = _connection_type()["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Describe the extra fields of the connection form to Airflow before 3.2."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from flask_babel import lazy_gettext
        from wtforms import IntegerField
        from wtforms.validators import NumberRange, Optional

        return {
            name: IntegerField(
                lazy_gettext(conn_field["label"]),
                widget=BS3TextFieldWidget(),
                validators=[Optional(), NumberRange(min=conn_field["schema"]["minimum"])],
                description=conn_field["description"],
            )
            for name, conn_field in _connection_type()["conn-fields"].items()
        }

    @cached_property
    def settings(self) -> ConnectionSettings:
        """The settings of the Airflow connection, loaded at first use."""
        from airflow_provider_chartmogul.hooks._connection_settings import ConnectionSettings

        return ConnectionSettings.from_connection(self.get_connection(self.chartmogul_conn_id))

    @cached_property
    def _client(self) -> Client:
        from airflow_provider_chartmogul.hooks._client import Client

        return Client(self.settings, self._decode)

    @property
    def host(self) -> str:
        """Address of the API, without its version."""
        return self.settings.base_url.removesuffix("/v1")

    @property
    def max_retries(self) -> int:
        """Maximum number of retries of a failed request."""
        return self.settings.max_retries if self._max_retries is None else self._max_retries

    def _decode(self, content: bytes) -> Any:
        """Parse a response body. Exports override this, to keep each row's text as ChartMogul wrote it."""
        return jsonlib.loads(content)

    def get_conn(self) -> requests.Session:
        """
        Return the session that all requests of this hook share.

        It authenticates and keeps connections alive; retries, timeouts and errors come with :meth:`request`.
        """
        return self._client.session

    def close(self) -> None:
        """Close the session; the next request opens another."""
        if client := self.__dict__.pop("_client", None):
            client.close()

    def request(
        self,
        method: str,
        endpoint: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
    ) -> Any:
        """
        Send a request to any endpoint and return the response's JSON, parsed, or None if the response is empty.

        :param method: HTTP method
        :param endpoint: path below ``/v1``, such as ``customers`` or ``customers/cus_…/attributes``; ids in it are
            percent-encoded where they need to be
        :param params: query parameters; those that are None are left out, booleans become true and false, dates ISO
            8601, and lists are joined with commas
        :param json: request body
        :raises ValueError: if the endpoint is not a plain path, or a parameter is empty
        """
        return self._request(method, endpoint, params=params, json=json)

    def _request(
        self, method: str, endpoint: str, *, params: Any = None, json: Any = None, pace: Pace | None = None
    ) -> Any:
        from airflow_provider_chartmogul.hooks._query import check_endpoint, encode_query

        endpoint, query, method = check_endpoint(endpoint), encode_query(params), method.upper()
        body = None if json is None else jsonlib.dumps(json, allow_nan=False).encode()
        may_have_acted = False
        retry = 0
        while True:
            if pace is not None:
                pace.wait()
            try:
                with on_connection(self.chartmogul_conn_id):
                    return self._client.send(method, endpoint, query, body)
            except ChartMogulError as error:
                may_have_acted = error.may_have_acted = may_have_acted or error.may_have_acted
                wait = backoff_delay(retry, error.retry_after)
                if pace is not None:
                    pace.on_error(error)
                if retry >= self.max_retries or not is_retried(method, error):
                    raise
                retry += 1
                self.log.warning(
                    "%s Trying again in %.1f s (retry %d of %d).", error.summary, wait, retry, self.max_retries
                )
            time.sleep(wait)

    def pages(self, endpoint: str, params: Mapping[str, Any] | str | None = None) -> CursorPaginator:
        """
        Return the pages of a list endpoint, each requested when it is iterated over.

        :param endpoint: path below ``/v1`` of any endpoint that pages with a cursor, or returns its list in one page
        :param params: query parameters, as in :meth:`request`, or JSON text of them; ``per_page`` is 200 unless given
        :raises ValueError: if the endpoint is not a plain path, if a parameter is empty, or for ``page``
        """
        from airflow_provider_chartmogul.hooks._paging import CursorPaginator
        from airflow_provider_chartmogul.hooks._query import check_endpoint, encode_query

        return CursorPaginator(self.request, check_endpoint(endpoint), encode_query(params), self.chartmogul_conn_id)

    def paginate(self, endpoint: str, params: Mapping[str, Any] | str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list endpoint one by one; see :meth:`pages`."""
        return itertools.chain.from_iterable(self.pages(endpoint, params))

    def retrieve_opportunity(self, opportunity_uuid: str | UUID) -> dict[str, Any]:
        """
        Return the JSON of an opportunity as ChartMogul sends it.

        :param opportunity_uuid: the opportunity's UUID
        :raises ValueError: if that is not a UUID
        """
        return self._request_opportunity("GET", check_opportunity_uuid(opportunity_uuid))

    def retrieve_opportunities(self, opportunity_uuids: Iterable[str | UUID]) -> list[dict[str, Any]]:
        """
        Return the JSON of many opportunities, in the order given, at the connection's pace.

        They are requested individually, and many of them also from the list, whichever is faster.

        :param opportunity_uuids: the opportunities' UUIDs
        :raises ValueError: if one is not a UUID
        :raises ChartMogulNotFoundError: naming all that do not exist
        """
        from airflow_provider_chartmogul.hooks._retrieve_many import retrieve_many

        uuids = [check_opportunity_uuid(uuid) for uuid in opportunity_uuids]
        self.get_conn()  # here, since Airflow loads connections in this thread only
        with on_connection(self.chartmogul_conn_id):
            found = retrieve_many(uuids, self._request, self.settings)
        return [found[uuid] for uuid in uuids]

    def list_opportunities(self, **filters: Unpack[OpportunityFilters]) -> Iterator[dict[str, Any]]:
        """
        Yield the opportunities that pass all given filters, newest first, as ChartMogul sends them.

        :param filters: see :class:`~airflow_provider_chartmogul.opportunity.OpportunityFilters`
        :raises ValueError: naming every filter that is wrong, empty or unknown
        """
        return self.paginate("opportunities", list_query(filters))

    def create_opportunity(self, **opportunity: Unpack[NewOpportunity]) -> dict[str, Any]:
        """
        Create an opportunity and return its JSON as ChartMogul sends it.

        If the response is lost, the error's ``may_have_acted`` is true, and calling this again may create a second
        one; ``CreateOpportunityOperator`` does not.

        :param opportunity: see :class:`~airflow_provider_chartmogul.opportunity.NewOpportunity`
        :raises ValueError: naming every field that is wrong; nothing was sent
        """
        return self._request_opportunity("POST", json=create_body(opportunity))

    def update_opportunity(self, opportunity_uuid: str | UUID, **changes: Unpack[OpportunityChanges]) -> dict[str, Any]:
        """
        Change some fields of an opportunity, leave the others, and return its JSON as ChartMogul sends it.

        :param opportunity_uuid: the opportunity's UUID
        :param changes: see :class:`~airflow_provider_chartmogul.opportunity.OpportunityChanges`; None is sent as null
        :raises ValueError: naming every field that is wrong; nothing was sent
        """
        return self._request_opportunity("PATCH", check_opportunity_uuid(opportunity_uuid), update_body(changes))

    def delete_opportunity(self, opportunity_uuid: str | UUID) -> None:
        """
        Delete an opportunity.

        :param opportunity_uuid: the opportunity's UUID
        :raises ValueError: if that is not a UUID
        :raises ChartMogulNotFoundError: if there was no such opportunity at the first request
        """
        try:
            self.request("DELETE", f"opportunities/{check_opportunity_uuid(opportunity_uuid)}")
        except ChartMogulNotFoundError as error:
            # An earlier request, whose response was lost, deleted it.
            if not error.may_have_acted:
                raise

    def _request_opportunity(self, method: str, uuid: str | None = None, json: Any = None) -> dict[str, Any]:
        endpoint = f"opportunities/{uuid}" if uuid else "opportunities"
        with on_connection(self.chartmogul_conn_id):
            return check_opportunity(self.request(method, endpoint, json=json), method, uuid)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the connection works, and a message for the person who set it up; never raises."""
        try:
            return self._test_connection()
        except ChartMogulError as error:
            error.conn_id = None  # the web page tests a copy of the connection, whose ID is random
            return False, str(error)
        except Exception as error:  # noqa: BLE001  # Airflow shows the returned message, or else a traceback
            return False, str(error)

    def _test_connection(self) -> tuple[bool, str]:
        # Without retries, since a user is waiting for the result.
        with closing(ChartMogulHook(self.chartmogul_conn_id, max_retries=0)) as hook:
            wrong_host = f"{hook.host} does not respond like ChartMogul's API. Check the connection's host."
            try:
                if hook.request("GET", "ping") != {"data": "pong!"}:
                    return False, wrong_host
            except (ChartMogulNotFoundError, ChartMogulInvalidResponseError):
                return False, wrong_host
            account = hook.request("GET", "account")
            name = account.get("name") if isinstance(account, dict) else None
            try:
                hook.request("GET", "opportunities", params={"per_page": 1})
            except ChartMogulPermissionError as error:
                error.conn_id = None
                return False, f"The API key of ChartMogul account {name!r} works, but: {error}"
            return True, f"Connected to ChartMogul account {name!r}; its opportunities are accessible."


def _connection_type() -> dict[str, Any]:
    connection_types = cast("list[dict[str, Any]]", get_provider_info()["connection-types"])
    return connection_types[0]

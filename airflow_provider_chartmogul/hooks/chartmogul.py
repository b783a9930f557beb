"""The only place that speaks HTTP with ChartMogul."""

from __future__ import annotations

import itertools
import json as jsonlib
import re
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
    ChartMogulUnreachableError,
)
from airflow_provider_chartmogul.get_provider_info import get_provider_info
from airflow_provider_chartmogul.hooks._client import failed_to_connect, new_session, retry_after, root_cause
from airflow_provider_chartmogul.hooks._response_errors import error_from_response
from airflow_provider_chartmogul.hooks._retries import backoff_delay, is_retried
from airflow_provider_chartmogul.opportunity._requests import create_body, update_body
from airflow_provider_chartmogul.opportunity._values import check_opportunity_uuid, to_iso_date

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Mapping

    import requests

    from airflow_provider_chartmogul.hooks._connection_settings import ConnectionSettings
    from airflow_provider_chartmogul.hooks._paging import CursorPaginator
    from airflow_provider_chartmogul.opportunity import ForecastCategory, OpportunityType

# Not compiled here, since DAG files import this module and send no request.
_ENDPOINT = r"[A-Za-z0-9_]([A-Za-z0-9_.:-]*[A-Za-z0-9_])?(/[A-Za-z0-9_]([A-Za-z0-9_.:-]*[A-Za-z0-9_])?)*"


class ChartMogulHook(BaseHook):
    """
    Talk to ChartMogul's REST API, documented at https://dev.chartmogul.com/reference/introduction.

    The Airflow connection holds the API key in ``password``, optionally another ``host`` than
    https://api.chartmogul.com, and in ``extra`` optionally ``timeout`` (seconds, default 30), ``max_retries``
    (default 5), and for all the waits and watchers of a triggerer together ``max_concurrent_requests`` (default 10)
    and ``max_requests_per_second`` (default 20). It is looked up when the first request is sent.

    GET, PATCH, PUT and DELETE are sent again after network errors and the statuses 429, 500, 502, 503, 504,
    520 and 524; POST only where ChartMogul cannot have acted: no connection came about, or the answer was 429.
    Waits grow from half a second to a minute and follow ``Retry-After``; when it asks for more than a minute,
    the error is raised at once. Redirects are not followed.

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
        self.max_retries = max_retries

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Describe the standard fields of the connection form to Airflow before 3.2."""
        behaviour = _connection_type()["ui-field-behaviour"]
        return {
            "hidden_fields": behaviour["hidden-fields"],
            "relabeling": behaviour["relabeling"],
            "placeholders": behaviour["placeholders"],
        }

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
        """What the Airflow connection says, looked up at first use."""
        return self._look_up_settings()

    @cached_property
    def _session(self) -> requests.Session:
        return new_session(self.settings)

    @property
    def host(self) -> str:
        """Address of the API, without its version."""
        return self.settings.base_url.removesuffix("/v1")

    @property
    def retry_limit(self) -> int:
        """How often a failed request is sent again, at most."""
        return self.settings.max_retries if self.max_retries is None else self.max_retries

    def get_conn(self) -> requests.Session:
        """
        Return the session that all requests of this hook share.

        It authenticates and keeps connections alive; retries, timeouts and errors come with :meth:`request`.
        """
        return self._session

    def reconnect(self) -> ConnectionSettings:
        """Look the connection up anew and use it from the next request on; return what it says."""
        settings = self._look_up_settings()
        previous = self.__dict__.get("_session")
        # In one step: closed first, it would be opened by another thread, with the settings of before.
        self.settings, self._session = settings, new_session(settings)
        if previous is not None:
            previous.close()
        return settings

    def _look_up_settings(self) -> ConnectionSettings:
        from airflow_provider_chartmogul.hooks._connection_settings import ConnectionSettings

        return ConnectionSettings.from_connection(self.get_connection(self.chartmogul_conn_id))

    def close(self) -> None:
        """Close the session; the next request opens another."""
        if session := self.__dict__.pop("_session", None):
            session.close()

    def request(
        self,
        method: str,
        endpoint: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
    ) -> Any:
        """
        Send a request to any endpoint and return the answer's JSON, parsed, or None if the answer is empty.

        :param method: HTTP method
        :param endpoint: path below ``/v1``, such as ``customers`` or ``customers/cus_…/attributes``
        :param params: query parameters; those that are None are left out
        :param json: request body
        :raises ValueError: if the endpoint is not a plain path
        """
        if not re.fullmatch(_ENDPOINT, endpoint):
            raise ValueError(f"endpoint: expected a path below /v1 such as customers, not {endpoint[:80]!r}")
        method = method.upper()
        body = None if json is None else jsonlib.dumps(json, allow_nan=False).encode()
        may_have_acted = False
        retry = 0
        while True:
            try:
                return self._send(method, endpoint, params, body)
            except ChartMogulError as error:
                may_have_acted = error.may_have_acted = may_have_acted or error.may_have_acted
                wait = backoff_delay(retry, error.retry_after)
                if retry >= self.retry_limit or not is_retried(method, error):
                    raise
                retry += 1
                self.log.warning(
                    "%s Trying again in %.1f s (retry %d of %d).", error.summary, wait, retry, self.retry_limit
                )
            time.sleep(wait)

    def pages(self, endpoint: str, params: Mapping[str, Any] | None = None) -> CursorPaginator:
        """
        Return the pages of a list endpoint, each requested when it is asked for.

        :param endpoint: path below ``/v1`` of any endpoint that pages with a cursor
        :param params: query parameters; ``per_page`` is 200 unless given
        """
        from airflow_provider_chartmogul.hooks._paging import CursorPaginator

        return CursorPaginator(self.request, endpoint, params)

    def paginate(self, endpoint: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list endpoint one by one; see :meth:`pages`."""
        return itertools.chain.from_iterable(self.pages(endpoint, params))

    def retrieve_opportunity(self, opportunity_uuid: str) -> dict[str, Any]:
        """
        Return the JSON of an opportunity as ChartMogul sends it.

        :param opportunity_uuid: the opportunity's UUID
        :raises ValueError: if that is not a UUID
        """
        uuid = check_opportunity_uuid(opportunity_uuid)
        opportunity = self._request_opportunity("GET", f"opportunities/{uuid}")
        if opportunity["uuid"] != uuid:
            raise ChartMogulInvalidResponseError(
                f"expected opportunity {uuid}, got another", method="GET", path=f"/v1/opportunities/{uuid}"
            )
        return opportunity

    def list_opportunities(
        self,
        *,
        customer_uuid: str | None = None,
        owner: str | None = None,
        pipeline: str | None = None,
        pipeline_stage: str | None = None,
        estimated_close_date_on_or_after: datetime.date | str | None = None,
        estimated_close_date_on_or_before: datetime.date | str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """
        Yield the opportunities that pass all given filters, newest first, as ChartMogul sends them.

        :param customer_uuid: UUID of the customer, ``cus_…``
        :param owner: email address of the owner
        :param pipeline: name of the pipeline
        :param pipeline_stage: name of the stage
        :param estimated_close_date_on_or_after: a date, or a string ``YYYY-MM-DD``
        :param estimated_close_date_on_or_before: a date, or a string ``YYYY-MM-DD``
        :raises ValueError: if a date is neither
        """
        params = {
            "customer_uuid": customer_uuid,
            "owner": owner,
            "pipeline": pipeline,
            "pipeline_stage": pipeline_stage,
        }
        for name, date in (
            ("estimated_close_date_on_or_after", estimated_close_date_on_or_after),
            ("estimated_close_date_on_or_before", estimated_close_date_on_or_before),
        ):
            if date is not None:
                params[name] = to_iso_date(date, name)
        return self.paginate("opportunities", params)

    def create_opportunity(
        self,
        *,
        customer_uuid: str,
        owner: str,
        pipeline: str,
        pipeline_stage: str,
        estimated_close_date: datetime.date | str,
        amount_in_cents: int | str,
        currency: str,
        type: OpportunityType | str | None = None,  # noqa: A002  # the API's name
        forecast_category: ForecastCategory | str | None = None,
        win_likelihood: int | str | None = None,
        custom: Mapping[str, Any] | str | None = None,
    ) -> dict[str, Any]:
        """
        Create an opportunity and return its JSON as ChartMogul sends it. Optional fields that are None are not sent.

        When the answer is lost, the error's ``may_have_acted`` is true, and calling this again may create a second
        one; :func:`~airflow_provider_chartmogul.hooks._create_once.create_opportunity_once` does not.

        :param customer_uuid: UUID of the customer, ``cus_…``
        :param owner: email address of a user with a CRM seat
        :param pipeline: name of the pipeline
        :param pipeline_stage: name of the stage
        :param estimated_close_date: a date, or a string ``YYYY-MM-DD``
        :param amount_in_cents: in the currency's smallest unit
        :param currency: three-letter code, such as USD
        :param type: how the amount recurs; default: ChartMogul's
        :param forecast_category: default: that of the stage
        :param win_likelihood: percent; default: that of the stage
        :param custom: custom attributes by name, or a JSON object of them as text
        :raises ValueError: naming every field that is wrong; nothing was sent
        """
        fields = {
            "customer_uuid": customer_uuid,
            "owner": owner,
            "pipeline": pipeline,
            "pipeline_stage": pipeline_stage,
            "estimated_close_date": estimated_close_date,
            "amount_in_cents": amount_in_cents,
            "currency": currency,
            "type": type,
            "forecast_category": forecast_category,
            "win_likelihood": win_likelihood,
            "custom": custom,
        }
        return self._request_opportunity("POST", "opportunities", create_body(fields))

    def update_opportunity(self, opportunity_uuid: str, **changes: Any) -> dict[str, Any]:
        """
        Change some fields of an opportunity, leave the others, and return its JSON as ChartMogul sends it.

        :param opportunity_uuid: the opportunity's UUID
        :param changes: fields as in :meth:`create_opportunity`, except ``customer_uuid``; None is sent as null
        :raises ValueError: naming every field that is wrong; nothing was sent
        """
        endpoint = f"opportunities/{check_opportunity_uuid(opportunity_uuid)}"
        return self._request_opportunity("PATCH", endpoint, update_body(changes))

    def delete_opportunity(self, opportunity_uuid: str) -> None:
        """
        Delete an opportunity.

        :param opportunity_uuid: the opportunity's UUID
        :raises ValueError: if that is not a UUID
        :raises ChartMogulNotFoundError: if there was no such opportunity at the first request
        """
        try:
            self.request("DELETE", f"opportunities/{check_opportunity_uuid(opportunity_uuid)}")
        except ChartMogulNotFoundError as error:
            # It is gone because an earlier request deleted it whose answer was lost.
            if not error.may_have_acted:
                raise

    def test_connection(self) -> tuple[bool, str]:
        """Tell whether the connection works, in words for the person who set it up; never raises."""
        try:
            return self._test_connection()
        except Exception as error:  # noqa: BLE001  # Airflow shows what is returned, and a traceback otherwise
            return False, str(error)

    def _test_connection(self) -> tuple[bool, str]:
        # Nobody who waits for an answer on a screen wants to wait for retries.
        with closing(ChartMogulHook(self.chartmogul_conn_id, max_retries=0)) as hook:
            wrong_host = f"{hook.host} does not answer like ChartMogul's API. Check the connection's host."
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
                return False, f"The API key of ChartMogul account {name!r} works, but: {error}"
            return True, f"Connected to ChartMogul account {name!r}; its opportunities are accessible."

    def _request_opportunity(self, method: str, endpoint: str, json: Any = None) -> dict[str, Any]:
        answer = self.request(method, endpoint, json=json)
        if not isinstance(answer, dict) or not answer.get("uuid"):
            raise ChartMogulInvalidResponseError(
                "expected a JSON object with a uuid", method=method, path=f"/v1/{endpoint}", may_have_acted=True
            )
        return answer

    def _send(self, method: str, endpoint: str, params: Mapping[str, Any] | None, body: bytes | None) -> Any:
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        path = f"/v1/{endpoint}"
        settings = self.settings
        try:
            response = self.get_conn().request(
                method,
                f"{settings.base_url}/{endpoint}",
                params=params,
                data=body,
                headers=None if body is None else {"Content-Type": "application/json"},
                timeout=settings.timeout,
                allow_redirects=False,
            )
        except (RequestException, HTTPError) as error:
            # Not chained: the text of the original has the query in it, and that may hold an owner's address.
            raise ChartMogulUnreachableError(
                f"no answer from {self.host}: {root_cause(error)}",
                method=method,
                path=path,
                may_have_acted=not failed_to_connect(error),
            ) from None
        if not 200 <= response.status_code < 300:
            text = settings.redact(response.content.decode(errors="replace"))
            raise error_from_response(method, path, response.status_code, text, retry_after=retry_after(response))
        try:
            return self._decode(response.content) if response.content else None
        except (ValueError, RecursionError):
            raise ChartMogulInvalidResponseError(
                f"expected JSON, got {len(response.content)} bytes of {response.headers.get('Content-Type')}",
                method=method,
                path=path,
                status=response.status_code,
                may_have_acted=True,
            ) from None

    def _decode(self, content: bytes) -> Any:
        """Parse a response body; exports override this to keep each row's text as ChartMogul wrote it."""
        return jsonlib.loads(content)


def _connection_type() -> dict[str, Any]:
    connection_types = cast("list[dict[str, Any]]", get_provider_info()["connection-types"])
    return connection_types[0]

"""ChartMogul's API without the network: a request in, a response out."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import uuid4

from airflow_provider_chartmogul.sandbox import _timestamps as timestamps
from airflow_provider_chartmogul.sandbox._access import Access
from airflow_provider_chartmogul.sandbox._messages import ApiError, Response, to_json
from airflow_provider_chartmogul.sandbox._opportunity_list import Filters, Position
from airflow_provider_chartmogul.sandbox._validation import validate_changes, validate_new

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_chartmogul.sandbox._account import Account

_SUCCESS = {"access-control-allow-credentials": "true"}
_MAX_PER_PAGE = 200
_EXACT_FILTERS = ("customer_uuid", "owner", "pipeline", "pipeline_stage")
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})\d{3}Z&(.+)")

_ACCOUNT = to_json(
    {
        "id": "acc_6f5cd0d2-e7fc-11ee-9c3d-2f6a1b1d7e55",
        "name": "ChartMogul Sandbox",
        "currency": "USD",
        "time_zone": "Europe/Berlin",
        "week_start_on": "monday",
    }
)
_ACCOUNT_ETAG = f'W/"{hashlib.md5(_ACCOUNT, usedforsecurity=False).hexdigest()}"'


class Api:
    """
    Handle requests for an account.

    :param account: the data
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def handle(self, access: Access, method: str, path: str, query: Mapping[str, str], body: bytes) -> Response:
        """
        Handle a request and return the response.

        :param access: permissions of the API key
        :param method: in upper case
        :param path: percent-encoded, without the query
        :param query: the decoded parameters
        :param body: the body's bytes
        """
        try:
            return self._route(access, method, [unquote(part) for part in path.split("/")], query, body)
        except ApiError as error:
            return error.response

    def _route(self, access: Access, method: str, path: list[str], query: Mapping[str, str], body: bytes) -> Response:
        match method, path:
            case "GET", ["", "v1", "ping"]:
                return _success(b'{"data":"pong!"}')
            case "GET", ["", "v1", "account"]:
                return _account()
            case _, ["", "v1", "opportunities", *rest]:
                return self._opportunities(access, method, rest, query, body)
        return _no_such_endpoint()

    def _opportunities(
        self, access: Access, method: str, path: list[str], query: Mapping[str, str], body: bytes
    ) -> Response:
        match method, path:
            case "GET", []:
                _require_seat(access)
                return self._list(query)
            case "POST", []:
                _require_write_access(access)
                return self._create(body)
            case "GET" | "PATCH" | "DELETE", [uuid] if uuid:
                return self._opportunity(access, method, uuid, body)
        return _no_such_endpoint()

    def _opportunity(self, access: Access, method: str, uuid: str, body: bytes) -> Response:
        try:
            if method == "GET":
                _require_seat(access)
                return _success(self._account.get_json(uuid))
            _require_write_access(access)
            if method == "DELETE":
                self._account.remove(uuid)
                return _success(b"{}")
            return self._update(uuid, body)
        except KeyError:
            raise ApiError(404, f'Opportunity "{uuid}" does not exist', "opportunity_uuid") from None

    def _list(self, query: Mapping[str, str]) -> Response:
        # Go's client sends empty filters, Node's an empty cursor; here they count as not given.
        query = {name: value for name, value in query.items() if value}
        page = self._account.page(_per_page(query.get("per_page", "")), _decode_cursor(query), _filters(query))
        cursor = None if page.last is None else _encode_cursor(page.last)
        has_more = b"true" if page.has_more else b"false"
        entries = b",".join(page.entries)
        return _success(b'{"entries":[%b],"cursor":%b,"has_more":%b}' % (entries, to_json(cursor), has_more))

    def _create(self, body: bytes) -> Response:
        created = self._account.add(validate_new(_json_object(body), self._account))
        return Response(201, to_json(created), headers=_SUCCESS)

    def _update(self, uuid: str, body: bytes) -> Response:
        changes = validate_changes(_json_object(body), self._account, self._account.get(uuid))
        return _success(to_json(self._account.change(uuid, changes)))


def _success(body: bytes) -> Response:
    return Response(200, body, headers=_SUCCESS)


def _no_such_endpoint() -> Response:
    return Response(404, b"404 Not Found", content_type=None, headers={"x-cascade": "pass"})


def _account() -> Response:
    # As recorded: this endpoint belongs to another service than the opportunities, with headers of its own.
    headers = {"etag": _ACCOUNT_ETAG, "x-request-id": str(uuid4()), "x-runtime": "0.012345"}
    return Response(200, _ACCOUNT, "application/json; charset=utf-8", headers)


def _require_seat(access: Access) -> None:
    if access is Access.NO_SEAT:
        raise ApiError(403, "You need a CRM seat to access opportunities")


def _require_write_access(access: Access) -> None:
    _require_seat(access)
    if access is Access.READ_ONLY:
        raise ApiError(403, "Your API key is read-only")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ApiError(400, "The request body must be a JSON object")
    return value


def _per_page(text: str) -> int:
    size = int(text) if re.fullmatch("[0-9]{1,3}", text) else 0
    return size if 1 <= size <= _MAX_PER_PAGE else _MAX_PER_PAGE


def _filters(query: Mapping[str, str]) -> Filters:
    return Filters(
        {name: query[name] for name in _EXACT_FILTERS if name in query},
        _date(query, "estimated_close_date_on_or_after"),
        _date(query, "estimated_close_date_on_or_before"),
    )


def _date(query: Mapping[str, str], name: str) -> str | None:
    if name not in query:
        return None
    date = timestamps.parse_date(query[name])
    if date is None:
        raise ApiError(422, "The value provided does not appear to be a valid date.", name)
    return date


def _decode_cursor(query: Mapping[str, str]) -> Position | None:
    text = query.get("cursor", "null")
    if text == "null":  # how a client may send the cursor of an empty list
        return None
    try:
        match = _CURSOR.fullmatch(b64decode(text, validate=True).decode())
    except ValueError:
        match = None
    created = timestamps.parse(match[1]) if match else None
    if match is None or created is None:
        raise ApiError(400, 'Parameter "cursor" is invalid', "cursor")
    return Position(created, match[2])


def _encode_cursor(position: Position) -> str:
    return b64encode(f"{timestamps.to_cursor(position.created)}&{position.uuid}".encode()).decode()

"""ChartMogul's API without the network: a request in, an answer out."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from airflow_provider_chartmogul.sandbox import timestamps
from airflow_provider_chartmogul.sandbox.account import Account, Fields, Position
from airflow_provider_chartmogul.sandbox.auth import Access
from airflow_provider_chartmogul.sandbox.responses import Answer, ApiError, to_json
from airflow_provider_chartmogul.sandbox.validation import MalformedCustomAttributesError, read_changes, read_new

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SUCCESS = {"access-control-allow-credentials": "true"}
_MAX_PER_PAGE = 200
_EQUAL = ("customer_uuid", "owner", "pipeline", "pipeline_stage")
_NO_EARLIER = "estimated_close_date_on_or_after"
_NO_LATER = "estimated_close_date_on_or_before"
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


class Api:
    """
    Answer requests from the data of an account.

    :param account: the data
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def answer(self, access: Access, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        """
        Do what a request asks for.

        :param access: what its sender may do
        :param method: in upper case
        :param path: as it came, percent-encoded, without the query
        :param query: the decoded parameters
        :param body: the bytes of the body
        """
        try:
            return self._route(access, method, [unquote(part) for part in path.split("/")], query, body)
        except ApiError as refusal:
            return refusal.answer
        except MalformedCustomAttributesError:
            return Answer(500, b"", content_type=None)

    def _route(self, access: Access, method: str, path: list[str], query: Mapping[str, str], body: bytes) -> Answer:
        match method, path:
            case "GET", ["", "v1", "ping"]:
                return _success(b'{"data":"pong!"}')
            case "GET", ["", "v1", "account"]:
                return Answer(200, _ACCOUNT, "application/json; charset=utf-8", _SUCCESS)
            case "GET", ["", "v1", "opportunities"]:
                _require_seat(access)
                return self._list(query)
            case "POST", ["", "v1", "opportunities"]:
                _require_write_access(access)
                return self._create(body)
            case "GET" | "PATCH" | "DELETE", ["", "v1", "opportunities", uuid] if uuid:
                return self._one(access, method, uuid, body)
        return Answer(404, b"404 Not Found", content_type=None, headers={"x-cascade": "pass"})

    def _one(self, access: Access, method: str, uuid: str, body: bytes) -> Answer:
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

    def _list(self, query: Mapping[str, str]) -> Answer:
        after = _read_cursor(query["cursor"]) if "cursor" in query else None
        page = self._account.page(_per_page(query.get("per_page", "")), after, _filter(query))
        cursor = None if page.last is None else _write_cursor(page.last)
        has_more = b"true" if page.has_more else b"false"
        entries = b",".join(page.entries)
        return _success(b'{"entries":[%b],"cursor":%b,"has_more":%b}' % (entries, to_json(cursor), has_more))

    def _create(self, body: bytes) -> Answer:
        created = self._account.add(read_new(_read_object(body), self._account))
        return Answer(201, to_json(created), headers=_SUCCESS)

    def _update(self, uuid: str, body: bytes) -> Answer:
        changes = read_changes(_read_object(body), self._account, self._account.get(uuid))
        return _success(to_json(self._account.change(uuid, changes)))


def _success(body: bytes) -> Answer:
    return Answer(200, body, headers=_SUCCESS)


def _require_seat(access: Access) -> None:
    if access is Access.NO_SEAT:
        raise ApiError(403, "You need a CRM seat to access opportunities")


def _require_write_access(access: Access) -> None:
    _require_seat(access)
    if access is Access.READ_ONLY:
        raise ApiError(403, "Your API key is read-only")


def _read_object(body: bytes) -> dict[str, Any]:
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


def _filter(query: Mapping[str, str]) -> Callable[[Fields], bool] | None:
    equal = {name: query[name] for name in _EQUAL if name in query}
    earliest, latest = _date(query, _NO_EARLIER), _date(query, _NO_LATER)
    if not equal and earliest is None and latest is None:
        return None

    def wanted(fields: Fields) -> bool:
        if any(fields[name] != value for name, value in equal.items()):
            return False
        if earliest is None and latest is None:
            return True
        closes = fields["estimated_close_date"]
        # ISO dates sort as text.
        return isinstance(closes, str) and (earliest or closes) <= closes <= (latest or closes)

    return wanted


def _date(query: Mapping[str, str], name: str) -> str | None:
    if name not in query:
        return None
    date = timestamps.parse_date(query[name])
    if date is None:
        raise ApiError(422, "The value provided does not appear to be a valid date.", name)
    return date


def _read_cursor(text: str) -> Position:
    try:
        match = _CURSOR.fullmatch(b64decode(text, validate=True).decode())
    except ValueError:
        match = None
    created = timestamps.parse(match[1]) if match else None
    if match is None or created is None:
        raise ApiError(400, 'Parameter "cursor" is invalid', "cursor")
    return Position(created, match[2])


def _write_cursor(position: Position) -> str:
    return b64encode(f"{timestamps.to_cursor(position.created)}&{position.uuid}".encode()).decode()

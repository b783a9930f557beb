"""
List pages whose rows keep their JSON text.

Python's ``json`` reads ``1e400`` as infinity, rounds a decimal to 17 digits and drops all but the last of equal names.
An export therefore copies the text of each row and parses it only to find where it ends.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # Parses the value at an index; returns it and the index after it.
    Read = Callable[[str, int], tuple[Any, int]]


class Row(dict[str, Any]):
    """An entry of a page, parsed, with its JSON text as ChartMogul wrote it."""

    __slots__ = ("text",)
    text: str


class Part(NamedTuple):
    """A member of a JSON object, or an element of an array (without a name), and the text of its value."""

    name: str
    value: Any
    text: str


class RowTextHook(ChartMogulHook):
    """
    A hook whose pages hold :class:`Row` objects.

    :param chartmogul_conn_id: the Airflow connection to use
    :param page_fields: names of fields of the page to copy into each of its rows
    """

    def __init__(self, chartmogul_conn_id: str, page_fields: Sequence[str] = ()) -> None:
        super().__init__(chartmogul_conn_id)
        self._page_fields = tuple(page_fields)

    def _decode(self, content: bytes) -> Any:
        return decode_page(content, self._page_fields)


def decode_page(content: bytes, page_fields: Sequence[str] = ()) -> Any:
    """
    Parse a response; each JSON object in an array at its top level becomes a :class:`Row`.

    :param content: the body
    :param page_fields: names of fields of the page to copy into each of its rows
    :raises ValueError: if that is not JSON, or the page has a duplicate name
    :raises AirflowFailException: if the page lacks one of ``page_fields``, or a row has it already
    """
    # Characters at which str.splitlines() would split a row. JSON has the ASCII ones only outside of strings, and the
    # others only inside.
    text = content.decode("utf-8-sig", "surrogatepass")
    for character, replacement in _LINE_BREAKS:
        if character in text:
            text = text.replace(character, replacement)
    start = _skip_space(text, 0)
    if text[start : start + 1] != "{":
        return _strict.decode(text)
    parts, end = split(text, start, _read_rows)
    if (rest := _skip_space(text, end)) != len(text):
        raise json.JSONDecodeError("Extra data", text, rest)
    page = {part.name: part.value for part in parts}
    if len(page) < len(parts):
        raise ValueError("the page has a field twice")
    if page_fields:
        _copy_page_fields({part.name: part.text for part in parts if part.name in page_fields}, page, page_fields)
    return page


def split_row(row: Row) -> list[Part]:
    """Return the fields of a row, in order, the values parsed and as text."""
    return split(row.text, 0, _strict.raw_decode)[0]


def split(text: str, start: int, read: Read) -> tuple[list[Part], int]:
    """
    Parse a JSON object or array; return its parts, and the index after it.

    :param text: the JSON text
    :param start: index of the opening bracket
    :param read: parses a value
    :raises ValueError: if that is not JSON
    """
    is_object = text[start] == "{"
    closing = "}" if is_object else "]"
    parts: list[Part] = []
    name = ""
    index = _skip_space(text, start + 1)
    if text[index : index + 1] == closing:
        return parts, index + 1
    while True:
        if is_object:
            name, index = _strict.raw_decode(text, index)
            index = _skip_space(text, index)
            if not isinstance(name, str) or text[index : index + 1] != ":":
                raise json.JSONDecodeError("Expecting a name and ':'", text, index)
            index = _skip_space(text, index + 1)
        value, end = read(text, index)
        parts.append(Part(name, value, text[index:end]))
        index = _skip_space(text, end)
        delimiter = text[index : index + 1]
        if delimiter == closing:
            return parts, index + 1
        if delimiter != ",":
            raise json.JSONDecodeError(f"Expecting ',' or {closing!r}", text, index)
        index = _skip_space(text, index + 1)


def _read_rows(text: str, index: int) -> tuple[Any, int]:
    if text[index : index + 1] != "[":
        return _strict.raw_decode(text, index)
    parts, end = split(text, index, _strict.raw_decode)
    return [_to_row(part) if isinstance(part.value, dict) else part.value for part in parts], end


def _to_row(part: Part) -> Row:
    row = Row(part.value)
    row.text = part.text
    return row


def _copy_page_fields(texts: dict[str, str], page: dict[str, Any], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in texts]:
        raise AirflowFailException(
            f"page_fields: the page has no {', '.join(missing)}; its fields are {', '.join(page)}."
        )
    copied = ",".join(f"{json.dumps(name)}:{texts[name]}" for name in names)
    for row in [row for value in page.values() if isinstance(value, list) for row in value if isinstance(row, Row)]:
        if present := [name for name in names if name in row]:
            raise AirflowFailException(f"page_fields: the rows have a {', '.join(present)} of their own.")
        row.text = f"{{{copied}{',' if row else ''}{row.text[1:]}"
        row.update({name: page[name] for name in names})


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_LINE_BREAKS = (
    ("\n", " "),
    ("\r", " "),
    ("\x85", "\\u0085"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)
_match_space = re.compile(r"[ \t\n\r]*").match


def _skip_space(text: str, index: int) -> int:
    return _match_space(text, index).end()  # type: ignore[union-attr]  # it matches nothing, too


_strict = json.JSONDecoder(parse_constant=_refuse)

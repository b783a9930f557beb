"""Validation and encoding of the endpoints and query parameters that users write."""

from __future__ import annotations

import datetime
import math
import operator
import re
import uuid
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any
from urllib.parse import unquote

from airflow_provider_chartmogul.opportunity._values import read_mapping, truncated_repr

_ENCODED_CHARACTER = r"(?:[A-Za-z0-9_.:~-]|%[0-9A-Fa-f]{2})"
_ENDPOINT = re.compile(rf"{_ENCODED_CHARACTER}+(?:/{_ENCODED_CHARACTER}+)*")
_BEFORE_ENDPOINT = re.compile(r"(?:https?://[^/?#]*)?/*(?:v1/+)?", re.IGNORECASE)


def check_endpoint(endpoint: str) -> str:
    """
    Return a path below ``/v1`` after validation.

    Ids in it may be percent-encoded. No part of it may be ``.`` or ``..`` in any encoding, since a server or a proxy
    would normalize the path.

    :raises ValueError: if it is anything else; with the correct spelling if known
    """
    if _is_plain_path(endpoint) and not re.match(r"v1(/|$)", endpoint, re.IGNORECASE):
        return endpoint
    hint = "percent-encode ids in it, and give query parameters as params"
    if isinstance(endpoint, str):
        plain = _BEFORE_ENDPOINT.sub("", endpoint.strip(), count=1).rstrip("/")
        if plain != endpoint and _is_plain_path(plain):
            hint = f"write {plain}"
    raise ValueError(f"endpoint: expected a path below /v1 such as customers, not {truncated_repr(endpoint)}; {hint}")


def _is_plain_path(endpoint: object) -> bool:
    if not isinstance(endpoint, str) or not _ENDPOINT.fullmatch(endpoint):
        return False
    decoded, encoded = endpoint, ""
    try:
        while decoded != encoded:
            encoded, decoded = decoded, unquote(decoded, errors="strict")
    except UnicodeError:
        return False
    parts = re.split(r"[/\\]", decoded)
    return decoded.isprintable() and not any(part.partition(";")[0].strip() in (".", "..") for part in parts)


def encode_query(params: Mapping[str, Any] | str | None) -> dict[str, str]:
    """
    Return query parameters as text: dates as ISO 8601, booleans as true and false, lists with commas.

    :param params: a mapping, or a JSON object as text, as a template may render it; None stands for left out
    :raises ValueError: if a parameter is empty, which may mean all or none, or has no such form
    """
    mapping = {} if params is None else read_mapping(params, "query")
    return {str(name): encode_value(str(name), value) for name, value in mapping.items() if value is not None}


def encode_value(name: str, value: object) -> str:
    """Return a query parameter as text; see :func:`encode_query`."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        items = [encode_value(name, item) for item in value]
        if any("," in item for item in items):
            raise ValueError(f"{name}: an item with a comma, which would be read as two items")
        text = ",".join(items)
    else:
        text = _encode_scalar(name, value)
    if not text.strip():
        raise ValueError(f"{name}: empty, which may mean all or none; leave it out, or give None, for all")
    return text


def _encode_scalar(name: str, value: object) -> str:
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):  # numpy's
        return str(bool(value)).lower()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name}: has half of a surrogate pair, which UTF-8 cannot hold") from None
        return value
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Decimal | float) and math.isfinite(value):
        return f"{value:f}" if isinstance(value, Decimal) else repr(float(value)).removesuffix(".0")
    try:
        return str(operator.index(value))  # type: ignore[arg-type]  # numpy's integers have __index__, others raise
    except TypeError:
        # The value is not shown, since it may be an email address.
        raise ValueError(
            f"{name}: expected text, a number, true, false, a date, or a list of them, not {type(value).__name__}"
        ) from None

"""What the sandbox answers with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Answer:
    """
    A response, before it goes on the wire.

    :param status: the status code
    :param body: the bytes of the body
    :param content_type: the header of that name; None leaves it out
    :param headers: further headers
    """

    status: int
    body: bytes
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(Exception):  # the name says what it is: an answer, not an error of the sandbox
    """
    An error in the words of ChartMogul's API.

    :param status: the status code
    :param message: what is wrong
    :param param: the parameter it is wrong with
    """

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param

    @property
    def answer(self) -> Answer:
        """The error as a response."""
        return Answer(self.status, to_json({"code": self.status, "message": self.message, "param": self.param}))


NO_VALID_KEY = "No valid API key provided"
TOO_FAST = "Your request rate has exceeded our rate limit."
TOO_MANY_AT_ONCE = "Service unavailable"


def to_json(value: Any) -> bytes:
    """Write JSON as compactly as the API does."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")

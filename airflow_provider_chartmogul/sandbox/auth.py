"""The sandbox's API keys."""

from __future__ import annotations

from base64 import b64decode
from enum import Enum, auto

from airflow_provider_chartmogul.sandbox.responses import NO_VALID_KEY, ApiError


class Access(Enum):
    """What the owner of an API key may do."""

    FULL = auto()
    READ_ONLY = auto()
    NO_SEAT = auto()


class Keys:
    """
    Know which keys are accepted, and for what.

    :param full: the key that may do everything
    """

    read_only = "sandbox-read-only-api-key"
    seatless = "sandbox-seatless-api-key"

    def __init__(self, full: str) -> None:
        self.full = full

    @property
    def full(self) -> str:
        """The key that may do everything."""
        return self._full

    @full.setter
    def full(self, key: str) -> None:
        if not key or ":" in key or not key.isascii() or not key.isprintable():
            raise ValueError("An API key is printable ASCII without a colon, and not empty.")
        if key in (self.read_only, self.seatless):
            raise ValueError(f"{key} is the name of a key with less access.")
        self._full = key

    def access(self, authorization: str | None) -> Access:
        """
        Return what the sender of a request may do.

        :param authorization: the ``Authorization`` header
        :raises ApiError: if it does not hold a key that is accepted
        """
        scheme, _, encoded = (authorization or "").partition(" ")
        try:
            user, colon, password = b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            raise ApiError(401, NO_VALID_KEY) from None
        access = {self._full: Access.FULL, self.read_only: Access.READ_ONLY, self.seatless: Access.NO_SEAT}
        if scheme.lower() != "basic" or not colon or password not in ("", user) or user not in access:
            raise ApiError(401, NO_VALID_KEY)
        return access[user]

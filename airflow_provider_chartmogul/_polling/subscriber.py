"""The interface between the polling engine and its users: waits and watchers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet


class Subscriber(ABC):
    """
    Receives the results of polls. All methods are called in the event loop.

    :param name: names the subscriber in log lines and metrics: the watcher's name or asset, or ``wait``
    :param is_watcher: whether its errors are log lines only; it gets no error of an outage, which the engine logs
    :param opportunity_uuids: the opportunities to poll; None: the whole list
    """

    name: str = "wait"
    is_watcher: bool = False
    opportunity_uuids: Collection[str] | None = None

    @abstractmethod
    def on_opportunity(self, opportunity: dict[str, Any]) -> bool:
        """Receive an opportunity's JSON; return whether a task was woken."""

    @abstractmethod
    def on_error(self, error: Exception, opportunity_uuid: str | None) -> bool:
        """
        Handle a poll error; return whether a task was woken.

        A permanent error with a UUID was confirmed by a second poll, so it may end a wait; a transient one, and any
        without a UUID, is information.

        :param error: names the request that failed
        :param opportunity_uuid: the opportunity that could not be polled; None: the list or the connection
        """

    async def on_round_end(self, listed: AbstractSet[str] | None) -> Collection[str]:
        """
        Handle the end of a round.

        :param listed: the UUIDs of all opportunities in the list; None: some pages could not be read, or the
            subscriber does not poll the whole list
        :return: UUIDs that the subscriber knows and the list lacks; they are polled individually
        """
        return ()

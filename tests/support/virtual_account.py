"""An account and a clock that exist only in this process, for tests that need thousands of rounds of polling."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.exceptions import ChartMogulUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PAGE_SIZE = 200


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]  # the selector of every SelectorEventLoop

        def jump(timeout: float | None) -> Any:
            self._now += timeout or 0
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]  # likewise

    def time(self) -> float:
        return self._now

    def run_in_executor(self, _executor: Any, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # of fewer types
        """Run a function without a thread, for which this clock would not wait."""
        done: asyncio.Future[Any] = self.create_future()
        try:
            done.set_result(function(*args))
        except Exception as error:  # noqa: BLE001  # whatever the function raises
            done.set_exception(error)
        return done


def run_in_virtual_time(test: Coroutine[Any, Any, None]) -> None:
    """Run an asynchronous test to its end without waiting for its sleeps."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(test)


@dataclass
class VirtualAccount:
    """The opportunities of an account, and how often somebody asked for them."""

    categories: dict[str, str | None] = field(default_factory=dict)
    is_down: bool = False
    requests: int = 0
    looks: int = 0

    def entry(self, uuid: str) -> dict[str, Any]:
        return {"uuid": uuid, "customer_uuid": "cus_1", "forecast_category": self.categories[uuid], "updated_at": "now"}


class _Pages:
    def __init__(self, account: VirtualAccount) -> None:
        self._account = account
        self._uuids = list(reversed(account.categories))
        self._next = 0
        self.is_finished = False

    def __next__(self) -> list[dict[str, Any]]:
        self._account.requests += 1
        if self._account.is_down:
            raise ChartMogulUnavailableError("down", method="GET", path="/v1/opportunities", status=503)
        page = self._uuids[self._next : self._next + PAGE_SIZE]
        self._next += PAGE_SIZE
        self.is_finished = self._next >= len(self._uuids)
        if self.is_finished:
            self._account.looks += 1
        return [self._account.entry(uuid) for uuid in page if uuid in self._account.categories]


class VirtualConnection:
    """Stands in for a PacedConnection: the same interface, without HTTP, threads and pauses."""

    def __init__(self, account: VirtualAccount) -> None:
        self._account = account
        self.hook = self
        self.users = 0
        self.concurrency = 10

    def pages(self, endpoint: str) -> _Pages:
        assert endpoint == "opportunities"
        return _Pages(self._account)

    async def connect(self) -> None:
        pass

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0.01)
        return function(*args)

    def distrust(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class VirtualStore:
    """The state store of an asset: what was written to it, and how often."""

    values: dict[str, Any] = field(default_factory=dict, repr=False)
    writes: int = 0

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        assert value is not None
        self.writes += 1
        self.values[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.values.pop(key, None)

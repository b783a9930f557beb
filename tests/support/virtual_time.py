"""A clock that jumps, for tests that would wait too long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it, and which counts its iterations."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self.iterations = 0
        select = self._selector.select  # type: ignore[attr-defined]  # the selector of every SelectorEventLoop

        def jump(timeout: float | None) -> Any:
            self._now += timeout or 0
            self.iterations += 1
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]  # likewise

    def time(self) -> float:
        return self._now

    def run_in_executor(self, _executor: Any, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # of fewer types
        """Run a function synchronously, since this clock would not wait for a thread."""
        done: asyncio.Future[Any] = self.create_future()
        try:
            done.set_result(function(*args))
        except Exception as error:  # noqa: BLE001  # the function may raise anything
            done.set_exception(error)
        return done


def run_in_virtual_time(test: Coroutine[Any, Any, None]) -> None:
    """Run an asynchronous test without waiting for its sleeps."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(test)

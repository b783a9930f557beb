"""Blocking calls in daemon threads, which do not block the exit of the process."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, TypeVar, cast

from asgiref.sync import sync_to_async

from airflow_provider_chartmogul.exceptions import ChartMogulUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")


class _DaemonThreads(Executor):
    """Call each function in a daemon thread of its own; the standard library's executors wait for theirs at exit."""

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
        future: Future[_Result] = Future()
        future.set_running_or_notify_cancel()

        def call() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  # it is raised in the event loop
                future.set_exception(error)

        threading.Thread(target=call, name="chartmogul_request", daemon=True).start()
        return future


daemon_threads = _DaemonThreads()


async def run_in_thread(function: Callable[..., _Result], *args: Any) -> _Result:
    """
    Call a function in a daemon thread of its own.

    :raises ChartMogulUnreachableError: if no thread can be started
    """
    try:
        call = asyncio.get_running_loop().run_in_executor(daemon_threads, function, *args)
    except RuntimeError as error:
        raise ChartMogulUnreachableError(f"a thread for a request could not be started: {error}") from None
    return await call


async def run_with_airflow(function: Callable[..., _Result], *args: Any) -> _Result:
    """
    Call a function that asks Airflow for a connection, or stores an XCom, in a daemon thread of its own.

    From a thread, Airflow 3 finds the triggerer's event loop only by asgiref; asgiref's own thread is not used, since a
    call that hangs there would stop other triggers, and keep the process from exiting.
    """
    call = sync_to_async(function, thread_sensitive=False, executor=daemon_threads)  # type: ignore[call-overload]  # asgiref takes any executor
    return cast("_Result", await call(*args))

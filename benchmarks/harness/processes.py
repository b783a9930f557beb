"""Processes as Airflow makes them for DAG files and tasks: forked from one that has Airflow imported already."""

from __future__ import annotations

import functools
import multiprocessing
import os
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

_PRELOADED = "benchmarks.harness.airflow_imports"


def in_new_process(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of a module in a new process and return its result."""
    own_airflow_home()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])
    pipe, childs_end = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(childs_end, function, args))
    process.start()
    childs_end.close()
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError(f"{function.__name__} failed; see above.") from None
    finally:
        process.join()


@functools.cache
def own_airflow_home() -> tempfile.TemporaryDirectory[str]:
    """Give the processes that this one starts an Airflow that finds nothing and says little."""
    folder = tempfile.TemporaryDirectory(prefix="chartmogul-benchmark-")
    os.environ.update(AIRFLOW_HOME=folder.name, AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR")
    # Compiling Airflow's modules in each process would take longer than the measurement.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return folder


def _call(pipe: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    pipe.send(function(*args))

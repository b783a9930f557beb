"""An Airflow isolated from the caller's, and fixtures for the sandbox, connections and logs."""

from __future__ import annotations

import gc
import importlib.util
import ipaddress
import json
import logging
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.support.airflow_versions import IS_AIRFLOW_3

# Airflow reads all of this when it is imported, which the plugin and the test modules do after this module.
for name in list(os.environ):
    if name.startswith("AIRFLOW_") or name.upper().endswith("_PROXY"):
        del os.environ[name]
_AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="chartmogul-tests-")
os.environ.update(
    AIRFLOW_HOME=_AIRFLOW_HOME.name,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="True",
    AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_AIRFLOW_HOME.name}/airflow.db",
)

if not IS_AIRFLOW_3:
    # The default of its test configuration, LocalExecutor, does not go with SQLite there.
    os.environ["AIRFLOW__CORE__EXECUTOR"] = "SequentialExecutor"

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_chartmogul.sandbox import Sandbox

pytest_plugins = ["airflow_provider_chartmogul.sandbox.pytest_plugin"]

MAX_RETRIES = 2
"""The ``max_retries`` of the tests' connections, unless a test overrides it."""


class Connect(Protocol):
    """Set fields of an Airflow connection to the sandbox."""

    def __call__(self, conn_id: str = "chartmogul_default", **fields: Any) -> None: ...


def _stay_on_this_machine(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise RuntimeError(f"A test tried to connect to {host}.")


sys.addaudithook(_stay_on_this_machine)


def pytest_collection_finish() -> None:
    # Each collection of garbage would search all that Airflow keeps, a tenth of the tests' time.
    gc.freeze()


def pytest_unconfigure() -> None:
    _AIRFLOW_HOME.cleanup()


@pytest.fixture
def connect(chartmogul_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return a function that overwrites a connection; the defaults connect to the sandbox."""

    def connect(conn_id: str = "chartmogul_default", **fields: Any) -> None:
        connection = {**chartmogul_sandbox.connection, "extra": {"max_retries": MAX_RETRIES}, **fields}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    return connect


@pytest.fixture
def sandbox(chartmogul_sandbox: Sandbox, connect: Connect) -> Sandbox:
    """Return a sandbox that `chartmogul_default` leads to, with few retries."""
    connect()
    return chartmogul_sandbox


class _Clock:
    def __init__(self) -> None:
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Skip the backoff of hooks; return the seconds that they would have slept."""
    clock = _Clock()
    monkeypatch.setattr("airflow_provider_chartmogul.hooks.chartmogul.time", clock)
    return clock.waits


class Logs:
    """The log records of all levels, before Airflow masks secrets."""

    def __init__(self, caplog: pytest.LogCaptureFixture, structured: list[Any]) -> None:
        self._caplog = caplog
        self._structured = structured

    @property
    def messages(self) -> list[str]:
        """Return the messages of Airflow's loggers, followed by those of all others."""
        structured = [entry["event"] % entry.get("positional_args", ()) for entry in self._structured]
        return structured + [record.getMessage() for record in self._caplog.records]

    @property
    def everything(self) -> str:
        """Return all text that could reach a log file, including tracebacks and structured values."""
        formatter = logging.Formatter("%(name)s %(message)s")
        records = [f"{formatter.format(record)} {record.__dict__}" for record in self._caplog.records]
        return "\n".join([*map(repr, self._structured), *self.messages, *records])


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logs]:
    """Capture logs; Airflow writes them through the standard library before 3.1, and through structlog since."""
    for name in ("", "airflow.task", "urllib3", "requests", "airflow_provider_chartmogul"):
        caplog.set_level(logging.DEBUG, name)
    for module_name, module in list(sys.modules.items()):
        if module_name.endswith("secrets_masker") and hasattr(module, "SecretsMasker"):
            monkeypatch.setattr(module.SecretsMasker, "filter", lambda *_: True)
    if importlib.util.find_spec("structlog") is None:
        yield Logs(caplog, [])
    else:
        import structlog.testing

        with structlog.testing.capture_logs() as structured:
            yield Logs(caplog, structured)

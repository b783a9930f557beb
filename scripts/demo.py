"""Run example_wait_until_won on a real Airflow in a temporary folder, with the sandbox as ChartMogul."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from signal import SIGKILL
from subprocess import PIPE
from textwrap import indent
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Sandbox
from scripts.isolation import (
    Command,
    airflow_command,
    airflow_environment,
    interrupt_on_signals,
    write_airflow_config,
    write_cluster_policies,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DAG_ID = "example_wait_until_won"
POLL_INTERVAL = 2
CATEGORY_INTERVAL = 4
TIMEOUT = 180

# A log line of this package's operator or sensor, as Airflow prints it.
_OUR_LOG_LINE = re.compile(
    r"\S+T(?P<time>\d\d:\d\d:\d\d)\S* +\[\w+ *\] (?P<message>.*?) +"
    r"\[(airflow\.task\.operators\.)?airflow_provider_chartmogul\.(?P<module>\w+)"
)


class DemoError(Exception):
    """The demo failed."""


class Airflow:
    """An Airflow with its database in a temporary folder; its output is kept for error reports."""

    def __init__(self, home: Path, connection: str) -> None:
        self._database = home / "airflow.db"
        write_airflow_config(home)
        self._environment = airflow_environment(home) | {"AIRFLOW_CONN_CHARTMOGUL_DEFAULT": connection}
        self.output: list[str] = []

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Iterator[str]]:
        """
        Run an ``airflow`` command; entering returns its output, line by line.

        :raises DemoError: if it fails or takes too long
        """
        name = " ".join(("airflow", *arguments))
        self.output.append(f"$ {name}\n")
        deadline = time.monotonic() + TIMEOUT
        with Command(airflow_command(*arguments), self._environment, PIPE) as command:
            alarm = threading.Timer(TIMEOUT, command.send, [SIGKILL])
            alarm.start()
            try:
                yield self._kept(command.lines)
                exit_code = command.wait()
            finally:
                alarm.cancel()
        if time.monotonic() > deadline:
            raise DemoError(f"{name} took longer than {TIMEOUT} s.")
        if exit_code != 0:
            raise DemoError(f"{name} failed with exit code {exit_code}.")

    def _kept(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            self.output.append(line)
            yield line

    def result(self, task_id: str) -> Any:
        """
        Return the result of a task from XCom.

        :raises DemoError: if there is none
        """
        query = "SELECT value FROM xcom WHERE dag_id = ? AND task_id = ? AND key = 'return_value'"
        with closing(sqlite3.connect(self._database)) as database:
            row = database.execute(query, (DAG_ID, task_id)).fetchone()
        if row is None:
            raise DemoError(f"The task {task_id} has no result in XCom.")
        return json.loads(row[0])


def say(text: str = "") -> None:
    """Print without buffering."""
    print(text, flush=True)


def show(airflow: Airflow, sandbox: Sandbox) -> None:
    """
    Run the DAG, advance the opportunity while the sensor waits, and print the progress.

    :raises DemoError: if the outcome is not as expected
    """
    say("\n1. A fresh Airflow database")
    with airflow.running("db", "migrate") as lines:
        for _ in lines:
            pass
    say("   Created.")

    say(f"\n2. airflow dags test {DAG_ID}")
    say("\n   Task retrieve_opportunity")
    pulled = None
    with airflow.running("dags", "test", DAG_ID) as lines:
        for found in filter(None, map(_OUR_LOG_LINE.match, lines)):
            if pulled is None and found["module"] == "sensors":
                pulled = airflow.result("retrieve_opportunity")
                say("\n" + indent(json.dumps(pulled, indent=2), " " * 5))
                say(f"\n   Task wait_until_won, polling every {POLL_INTERVAL} s in this demo,")
                say("   while the sandbox advances the opportunity")
                sandbox.advance(EXAMPLE_OPPORTUNITY_UUID, "committed", "won", every=CATEGORY_INTERVAL)
            say(f"     {found['time']}  {found['message']}")
    if pulled is None:
        raise DemoError("The sensor never polled the opportunity.")
    awaited, announced = airflow.result("wait_until_won"), airflow.result("announce")
    say("\n   Task announce, which uses the typed view of the JSON")
    say(f"     {announced}")

    changed = {key for key in awaited if awaited[key] != pulled.get(key)}
    if pulled["forecast_category"] != "best_case" or awaited["forecast_category"] != "won":
        raise DemoError(f"Expected a change from best_case to won; the changed fields are {sorted(changed)}.")
    if awaited != sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID):
        raise DemoError("The sensor's result differs from the opportunity in the sandbox.")
    if "won" not in announced:
        raise DemoError(f"The last task returned {announced!r}.")


def demonstrate() -> None:
    """
    Run the demo in a temporary folder; print Airflow's complete output if it fails.

    :raises DemoError: if the outcome is not as expected
    """
    with tempfile.TemporaryDirectory(prefix="chartmogul-demo-") as scratch, Sandbox() as sandbox:
        home = Path(scratch)
        write_cluster_policies(home, poll_interval=POLL_INTERVAL)
        airflow = Airflow(home, sandbox.connection_json)
        say(f"This runs example_dags/{DAG_ID}.py on Airflow {version('apache-airflow')} in a temporary folder.")
        say(f"The sandbox on {sandbox.url} replaces ChartMogul.")
        try:
            show(airflow, sandbox)
        except Exception:
            say("\nThe complete output of Airflow:\n")
            say("".join(airflow.output))
            raise


def main() -> int:
    """Run the demo and return its exit code."""
    interrupt_on_signals()
    started = time.monotonic()
    try:
        demonstrate()
    except DemoError as error:
        say(f"The demo failed. {error}")
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted.")
        return 130
    say(f"\nDone in {time.monotonic() - started:.0f} s. For a complete Airflow with its web page: make airflow")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Show example_wait_until_won at work: a real Airflow in a scratch folder, with the sandbox as ChartMogul."""

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
    shorten_poke_intervals,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DAG_ID = "example_wait_until_won"
SECONDS_BETWEEN_LOOKS = 2
SECONDS_PER_CATEGORY = 4
SECONDS_ALLOWED = 180

# A line that our own operator or sensor logged, as Airflow writes it to a console.
_OUR_LOG_LINE = re.compile(
    r"\S+T(?P<time>\d\d:\d\d:\d\d)\S* +\[\w+ *\] (?P<message>.*?) +"
    r"\[(airflow\.task\.operators\.)?airflow_provider_chartmogul\.(?P<module>\w+)"
)


class DemoError(Exception):
    """The demo did not show what it promises."""


class Airflow:
    """An Airflow with its database in a scratch folder, whose complete output is kept in case of need."""

    def __init__(self, home: Path, connection: str) -> None:
        self._database = home / "airflow.db"
        self._environment = airflow_environment(home) | {"AIRFLOW_CONN_CHARTMOGUL_DEFAULT": connection}
        self.output: list[str] = []

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Iterator[str]]:
        """
        Run an ``airflow`` command; what is entered is its output, line by line.

        :raises DemoError: if it fails or takes too long
        """
        name = " ".join(("airflow", *arguments))
        self.output.append(f"$ {name}\n")
        deadline = time.monotonic() + SECONDS_ALLOWED
        with Command(airflow_command(*arguments), self._environment, PIPE) as command:
            alarm = threading.Timer(SECONDS_ALLOWED, command.send, [SIGKILL])
            alarm.start()
            try:
                yield self._kept(command.lines)
                exit_code = command.wait()
            finally:
                alarm.cancel()
        if time.monotonic() > deadline:
            raise DemoError(f"{name} took longer than {SECONDS_ALLOWED} s.")
        if exit_code != 0:
            raise DemoError(f"{name} failed with exit code {exit_code}.")

    def _kept(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            self.output.append(line)
            yield line

    def result(self, task_id: str) -> Any:
        """
        Return what a task of the DAG returned: its XCom.

        :raises DemoError: if it returned nothing
        """
        query = "SELECT value FROM xcom WHERE dag_id = ? AND task_id = ? AND key = 'return_value'"
        with closing(sqlite3.connect(self._database)) as database:
            row = database.execute(query, (DAG_ID, task_id)).fetchone()
        if row is None:
            raise DemoError(f"The task {task_id} returned nothing.")
        return json.loads(row[0])


def say(text: str = "") -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def show(airflow: Airflow, sandbox: Sandbox) -> None:
    """
    Run the DAG, move the opportunity while the sensor waits, and tell what happens.

    :raises DemoError: if anything is not as it should be
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
                say(f"\n   Task wait_until_won, which looks every {SECONDS_BETWEEN_LOOKS} s in this demo;")
                say("   meanwhile the sandbox moves the opportunity on")
                sandbox.advance(EXAMPLE_OPPORTUNITY_UUID, "committed", "won", every=SECONDS_PER_CATEGORY)
            say(f"     {found['time']}  {found['message']}")
    if pulled is None:
        raise DemoError("The sensor never looked at the opportunity.")
    awaited, announced = airflow.result("wait_until_won"), airflow.result("announce")
    say("\n   Task announce, which uses the typed view of the JSON")
    say(f"     {announced}")

    changed = {key for key in awaited if awaited[key] != pulled.get(key)}
    if pulled["forecast_category"] != "best_case" or awaited["forecast_category"] != "won":
        raise DemoError(f"Expected best_case to become won; these fields changed: {sorted(changed)}.")
    if awaited != sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID):
        raise DemoError("The sensor's result is not the JSON that the sandbox holds.")
    if "won" not in announced:
        raise DemoError(f"The last task says {announced!r}.")


def demonstrate() -> None:
    """
    Prepare a scratch folder and a sandbox, and show the DAG, or all that Airflow said if that fails.

    :raises DemoError: if anything is not as it should be
    """
    with tempfile.TemporaryDirectory(prefix="chartmogul-demo-") as scratch, Sandbox() as sandbox:
        home = Path(scratch)
        shorten_poke_intervals(home, SECONDS_BETWEEN_LOOKS)
        airflow = Airflow(home, sandbox.connection_json)
        say(f"This runs example_dags/{DAG_ID}.py on Airflow {version('apache-airflow')} in a scratch folder.")
        say(f"The sandbox, at {sandbox.url}, stands in for ChartMogul.")
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
    say(f"\nDone in {time.monotonic() - started:.0f} s. To click around in a complete Airflow: make airflow")
    return 0


if __name__ == "__main__":
    sys.exit(main())

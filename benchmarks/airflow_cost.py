"""
Measure the CPU that Airflow itself spends on waits and retrieves.

One Airflow, with SQLite and LocalExecutor, runs one DAG after the other. In the modes of a sensor it has 40 sensors
that poll every 5 s, and each opportunity is won 4 s after its first poll, so that a wait takes about two polls; waits
that last for days differ in the number of polls alone. Then come 1,000 opportunities in one sensor and in 1,000 mapped
ones, and 200 retrieves in one task and in 200 mapped ones. Counted are all processes of Airflow, less their consumption
when nothing runs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from airflow_provider_chartmogul.sandbox import Sandbox
from benchmarks.harness.report import Report, Row, main, progress, table
from scripts.local_airflow import LocalAirflow

REPOSITORY = Path(__file__).resolve().parent.parent

COMMAND = "make bench-airflow-cost"
REMARKS = """\
Most of it is starting a process for a task. In poke mode one is held all the time, in reschedule mode one is started
for each poke; a deferred wait starts one before and one after the wait, one before, or none. The rest is scheduling:
rows for the run, the task and the trigger."""
SECONDS_UNTIL_WON = 4
LONGEST_RUN = 1_200  # seconds
MOST = 1_000


@dataclass(frozen=True)
class Mode:
    """A DAG, and the number of opportunities that it waits for or retrieves."""

    dag_id: str
    opportunities: int = 40
    is_read_from_list: bool = False


STARTED_AND_ENDED = "deferrable, started and ended in the trigger"
ONE_SENSOR, MAPPED_SENSORS = "1,000 opportunities in one sensor", "1,000 mapped sensors"
ONE_RETRIEVE, MAPPED_RETRIEVES = "200 retrieves in one task", "200 mapped retrieves"
MODES = {
    "poke": Mode("wait_poke"),
    "reschedule": Mode("wait_reschedule"),
    "deferrable": Mode("wait_deferrable"),
    "deferrable, ended in the trigger": Mode("wait_ended_in_the_trigger"),
    STARTED_AND_ENDED: Mode("wait_started_and_ended_in_the_trigger", is_read_from_list=True),
    "a task that does nothing": Mode("do_nothing"),
    ONE_SENSOR: Mode("wait_in_one_task", MOST, is_read_from_list=True),
    MAPPED_SENSORS: Mode("wait_mapped", MOST),
    ONE_RETRIEVE: Mode("retrieve_in_one_task", 200),
    MAPPED_RETRIEVES: Mode("retrieve_mapped", 200),
}
SMOKE_MODES = (STARTED_AND_ENDED, ONE_SENSOR)
# The scheduler's log has it once for each process that runs a task.
MARK_OF_A_WORKER = "Secrets backends loaded for worker"


@dataclass(frozen=True)
class Cost:
    """CPU seconds of all components of Airflow for a DAG run, processes started for tasks, and requests."""

    cpu: float
    workers: int
    requests: int


def measure(is_smoke: bool) -> Report:  # noqa: FBT001  # the command line's
    """Run the DAGs."""
    progress("Airflow's own cost: starting Airflow ...")
    with (
        tempfile.TemporaryDirectory() as home,
        Sandbox(opportunities=MOST, requests_per_second=None, max_connections=None) as sandbox,
        LocalAirflow(
            Path(home),
            connections={"chartmogul_default": sandbox.connection_json},
            CORE__DAGS_FOLDER=str(REPOSITORY / "benchmarks/dags"),
            CORE__PARALLELISM="16",
        ) as airflow,
    ):
        measurement = _Measurement(airflow, sandbox, seconds_of_idleness=2 if is_smoke else 10)
        costs = {}
        for name in SMOKE_MODES if is_smoke else MODES:
            costs[name] = measurement.cost_of(MODES[name])
            progress(f"{name}: {costs[name].cpu / MODES[name].opportunities:.3f} s")
    rows = []
    for name, cost in costs.items():
        number = MODES[name].opportunities
        figures = (f"{cost.cpu / number:.3f} s", f"{cost.workers / number:.2f}", f"{cost.requests / number:.2f}")
        rows.append([name, *figures])
    readme = []
    if not is_smoke:
        ours, instead = (costs[name].cpu for name in (ONE_SENSOR, MAPPED_SENSORS))
        readme.append(
            Row(
                "Airflow's CPU for 1,000 waits, 0 ms",
                f"{ours:.0f} s (one sensor)",
                f"{instead:.0f} s (1,000 mapped sensors)",
                f"{ours / instead:.3f}",
            )
        )
    header = ["mode", "CPU per opportunity", "processes started per opportunity", "requests per opportunity"]
    return Report(title="Airflow's own cost", body=table(header, rows), remarks=REMARKS, readme=readme)


class _Measurement:
    def __init__(self, airflow: LocalAirflow, sandbox: Sandbox, *, seconds_of_idleness: float) -> None:
        self._airflow = airflow
        self._sandbox = sandbox
        self._until(self._are_all_parsed, "parsed")
        before = self._cpu()
        time.sleep(seconds_of_idleness)
        self._idle = (self._cpu() - before) / seconds_of_idleness

    def cost_of(self, mode: Mode) -> Cost:
        """Run a DAG to its end."""
        dag_id = mode.dag_id
        for opportunity in self._sandbox.opportunities:
            self._sandbox.set_opportunity(opportunity["uuid"], forecast_category="pipeline")
        self._sandbox.clear_requests()
        before, workers, start = self._cpu(), self._workers(), time.monotonic()
        run = self._airflow.api("POST", f"dags/{dag_id}/dagRuns", {"logical_date": None})["dag_run_id"]
        polled_at: dict[str, float] = {}

        def has_ended() -> bool:
            self._win(polled_at, by_list=mode.is_read_from_list)
            state = self._airflow.api("GET", f"dags/{dag_id}/dagRuns/{run}")["state"]
            if state == "failed":
                raise RuntimeError(f"{dag_id} failed.")
            return bool(state == "success")

        self._until(has_ended, dag_id)
        cpu = self._cpu() - before - self._idle * (time.monotonic() - start)
        return Cost(cpu, self._workers() - workers, len(self._sandbox.requests))

    def _win(self, polled_at: dict[str, float], *, by_list: bool) -> None:
        """
        Win the opportunities that were first polled long enough ago.

        :param by_list: whether reading the list counts as a poll of each
        """
        everything = [opportunity["uuid"] for opportunity in self._sandbox.opportunities] if by_list else []
        for request in self._sandbox.requests:
            uuid = request.path.removeprefix("/v1/opportunities").removeprefix("/")
            for seen in [uuid] if uuid else everything:
                polled_at.setdefault(seen, request.at)
        for uuid, moment in polled_at.items():
            if time.monotonic() - moment >= SECONDS_UNTIL_WON:
                self._sandbox.set_opportunity(uuid, forecast_category="won")

    def _until(self, condition: Any, condition_name: str) -> None:
        deadline = time.monotonic() + LONGEST_RUN
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{condition_name}: not after {LONGEST_RUN} s.")
            self._airflow.check()
            time.sleep(0.5)

    def _are_all_parsed(self) -> bool:
        try:
            return int(self._airflow.api("GET", "dags")["total_entries"]) == len(MODES)
        except requests.HTTPError:
            return False

    def _workers(self) -> int:
        return (self._airflow.logs / "scheduler.log").read_text(errors="replace").count(MARK_OF_A_WORKER)

    @staticmethod
    def _cpu() -> float:
        """Return the seconds of computing of all processes of Airflow, of those too that have ended."""
        seconds = 0.0
        for process in psutil.Process().children(recursive=True):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            seconds += times.user + times.system + times.children_user + times.children_system
        return seconds


if __name__ == "__main__":
    sys.exit(main(COMMAND, __doc__, measure))

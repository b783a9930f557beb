"""
Measure what Airflow itself spends on a wait in each mode of a sensor.

One Airflow, with SQLite and LocalExecutor, runs a DAG of 40 sensors for each mode, one after the other. A sensor looks
every 5 s, and its opportunity is won 4 s after the first look, so that each wait takes about two looks; waits that last
for days differ in the number of looks alone. Counted are all processes of Airflow, less what they take when
nothing runs.
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
from benchmarks.harness.report import Answer, InShort, main, progress, table
from scripts.local_airflow import LocalAirflow

REPOSITORY = Path(__file__).resolve().parent.parent

COMMAND = "make bench-airflow-cost"
REMARKS = """\
Most of it is starting a process for a task. In poke mode one is held all the time, in reschedule mode one is started
for each look; what is deferred starts one before and one after the wait, one before, or none. What remains then is
scheduling: rows for the run, the task and the trigger, written and read again."""
WAITS = 40
SECONDS_UNTIL_WON = 4
LONGEST_RUN = 300  # seconds
STARTED_AND_ENDED = "deferrable, started and ended in the trigger"
RESCHEDULE = "reschedule"
DAGS = {
    "poke": "wait_poke",
    RESCHEDULE: "wait_reschedule",
    "deferrable": "wait_deferrable",
    "deferrable, ended in the trigger": "wait_ended_in_the_trigger",
    STARTED_AND_ENDED: "wait_started_and_ended_in_the_trigger",
    "a task that does nothing": "do_nothing",
}
SMOKE_DAGS = (STARTED_AND_ENDED,)
# The scheduler's log has it once for each process that runs a task.
MARK_OF_A_WORKER = "Secrets backends loaded for worker"


@dataclass(frozen=True)
class Cost:
    """What a DAG run cost all components of Airflow, in seconds of computing, and the processes started for tasks."""

    cpu: float
    workers: int
    requests: int


def answer(is_smoke: bool) -> Answer:  # noqa: FBT001  # what the command line says, and nothing else
    """Run the DAGs."""
    progress("Airflow's own cost: starting Airflow ...")
    with (
        tempfile.TemporaryDirectory() as home,
        Sandbox(opportunities=WAITS, requests_per_second=None, max_connections=None) as sandbox,
        LocalAirflow(
            Path(home),
            connections={"chartmogul_default": sandbox.connection_json},
            CORE__DAGS_FOLDER=str(REPOSITORY / "benchmarks/dags"),
            CORE__PARALLELISM="16",
        ) as airflow,
    ):
        measurement = _Measurement(airflow, sandbox, seconds_of_idleness=2 if is_smoke else 10)
        costs = {}
        for mode in SMOKE_DAGS if is_smoke else DAGS:
            costs[mode] = measurement.cost_of(DAGS[mode])
            progress(f"{mode}: {costs[mode].cpu / WAITS:.2f} s")
    base = costs[STARTED_AND_ENDED].cpu
    body = table(
        ["mode", "CPU per sensor", "of the least", "processes started per sensor", "requests per sensor"],
        [
            [
                mode,
                f"{cost.cpu / WAITS:.2f} s",
                f"{cost.cpu / base:.1f}",
                f"{cost.workers / WAITS:.1f}",
                f"{cost.requests / WAITS:.1f}",
            ]
            for mode, cost in costs.items()
        ],
    )
    return Answer(
        title="What a wait costs Airflow itself",
        body=body,
        remarks=REMARKS,
        in_short=InShort(
            "Airflow's CPU for a wait of two looks",
            f"{base / WAITS:.2f} s (started and ended in the trigger)",
            "" if is_smoke else f"{costs[RESCHEDULE].cpu / WAITS:.2f} s (a sensor in reschedule mode)",
            "" if is_smoke else f"{base / costs[RESCHEDULE].cpu:.2f}",
        ),
    )


class _Measurement:
    def __init__(self, airflow: LocalAirflow, sandbox: Sandbox, *, seconds_of_idleness: float) -> None:
        self._airflow = airflow
        self._sandbox = sandbox
        self._until(self._are_all_parsed, "parsed")
        before = self._cpu()
        time.sleep(seconds_of_idleness)
        self._idle = (self._cpu() - before) / seconds_of_idleness

    def cost_of(self, dag_id: str) -> Cost:
        """Run a DAG to its end."""
        for opportunity in self._sandbox.opportunities:
            self._sandbox.set_opportunity(opportunity["uuid"], forecast_category="pipeline")
        self._sandbox.clear_requests()
        before, workers, start = self._cpu(), self._workers(), time.monotonic()
        run = self._airflow.api("POST", f"dags/{dag_id}/dagRuns", {"logical_date": None})["dag_run_id"]
        looked_at: dict[str, float] = {}

        def has_ended() -> bool:
            self._win(looked_at, by_list=dag_id == DAGS[STARTED_AND_ENDED])
            state = self._airflow.api("GET", f"dags/{dag_id}/dagRuns/{run}")["state"]
            if state == "failed":
                raise RuntimeError(f"{dag_id} failed.")
            return bool(state == "success")

        self._until(has_ended, dag_id)
        cpu = self._cpu() - before - self._idle * (time.monotonic() - start)
        return Cost(cpu, self._workers() - workers, len(self._sandbox.requests))

    def _win(self, looked_at: dict[str, float], *, by_list: bool) -> None:
        """
        Win what was first looked at long enough ago.

        :param by_list: whether the list counts, since no worker takes a first look
        """
        everything = [opportunity["uuid"] for opportunity in self._sandbox.opportunities] if by_list else []
        for request in self._sandbox.requests:
            uuid = request.path.removeprefix("/v1/opportunities").removeprefix("/")
            for seen in [uuid] if uuid else everything:
                looked_at.setdefault(seen, request.at)
        for uuid, moment in looked_at.items():
            if time.monotonic() - moment >= SECONDS_UNTIL_WON:
                self._sandbox.set_opportunity(uuid, forecast_category="won")

    def _until(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + LONGEST_RUN
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not after {LONGEST_RUN} s.")
            self._airflow.check()
            time.sleep(0.5)

    def _are_all_parsed(self) -> bool:
        try:
            return int(self._airflow.api("GET", "dags")["total_entries"]) == len(DAGS)
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
    sys.exit(main(COMMAND, __doc__, answer))

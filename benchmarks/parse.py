"""
Measure the import of this provider in a DAG file, beside other providers.

Each import happens in a new process that has imported Airflow's own names for DAG files. Airflow's DAG processor parses
each file in a new process, every half minute by default, so this is paid about 2,900 times a day and DAG file.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from functools import partial
from typing import NamedTuple

from benchmarks.harness.processes import own_airflow_home
from benchmarks.harness.report import Report, Row, main, progress, table
from benchmarks.harness.rounds import interleaved, ratio

COMMAND = "make bench-parse"
REMARKS = """\
The rest is spread thinly: some twenty modules are found and read, and Python builds dataclasses, enums and
Airflow's operators when they are defined. `requests`, which with `aiohttp` makes up most of the others' imports, is
imported here when a task runs, and so is all that looks up connections, reads lists and creates."""
ROUNDS = 5
OURS, HTTP, DBT_CLOUD, FIVETRAN = "this provider", "HTTP", "dbt Cloud", "Fivetran (async)"
MODULES = {
    OURS: [
        "airflow_provider_chartmogul.operators.opportunity",
        "airflow_provider_chartmogul.sensors.opportunity",
        "airflow_provider_chartmogul.triggers.opportunity",
        "airflow_provider_chartmogul.transfers.object_storage",
        "airflow_provider_chartmogul.hooks.chartmogul",
    ],
    HTTP: [f"airflow.providers.http.{room}.http" for room in ("operators", "sensors", "triggers", "hooks")],
    DBT_CLOUD: [f"airflow.providers.dbt.cloud.{room}.dbt" for room in ("operators", "sensors", "triggers", "hooks")],
    FIVETRAN: [f"fivetran_provider_async.{room}" for room in ("operators", "sensors", "triggers", "hooks")],
}
# The DAG processor has the base of all triggers before it parses a file.
PROGRAM = """\
import importlib, json, sys, time
from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, task
import airflow.triggers.base
before = len(sys.modules)
start = time.perf_counter()
for module in sys.argv[1:]:
    importlib.import_module(module)
print(json.dumps([time.perf_counter() - start, len(sys.modules) - before]))
"""


class Import(NamedTuple):
    """Seconds and loaded modules of an import."""

    seconds: float
    modules: int


def measure(is_smoke: bool) -> Report:  # noqa: FBT001  # the command line's
    """Import each provider in turn."""
    progress("imports ...")
    own_airflow_home()
    measurements = {name: partial(_import, modules) for name, modules in MODULES.items()}
    interleaved(1, measurements)  # compiles missing bytecode
    imports = interleaved(1 if is_smoke else ROUNDS, measurements)
    seconds = {name: [one.seconds for one in found] for name, found in imports.items()}
    milliseconds = {name: f"{statistics.median(found) * 1000:.1f} ms" for name, found in seconds.items()}
    share = {name: f"{ratio(seconds[OURS], found):.1%}" for name, found in seconds.items()}
    rows = [
        [name, milliseconds[name], f"{found[0].modules}", "" if name == OURS else share[name]]
        for name, found in imports.items()
    ]
    return Report(
        title="Import in a DAG file",
        body=table(["provider", "import, median", "modules", "this provider's import, of that"], rows),
        remarks=REMARKS,
        readme=[
            Row(
                "import in a DAG file",
                milliseconds[OURS],
                f"{milliseconds[HTTP]} (HTTP provider)",
                f"{ratio(seconds[OURS], seconds[HTTP]):.2f}",
            )
        ],
    )


def _import(modules: list[str]) -> Import:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *modules], capture_output=True, text=True, check=True)
    return Import(*json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main(COMMAND, __doc__, measure))

"""Run the tests on every Airflow and Python that we support, each in an environment of its own."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from scripts.isolation import REPOSITORY
from scripts.readme_block import write_block

README = REPOSITORY / "README.md"
BEGIN = "<!-- compatibility: written by `make test-matrix ARGS=--write` -->"
END = "<!-- end of compatibility -->"
LINES_OF_OUTPUT_SHOWN = 60

_INSTALLED = (
    "import sys; from importlib.metadata import version; "
    "print(version('apache-airflow'), '%d.%d' % sys.version_info[:2])"
)


class Cell(NamedTuple):
    """One combination of versions."""

    airflow: str
    python: str

    @property
    def environment(self) -> Path:
        """The virtual environment of this combination."""
        return REPOSITORY / f".venv-{self.airflow}-py{self.python}"


NEWEST = "3.3.2"
CELLS = (
    *(Cell(airflow, "3.11") for airflow in ("2.11.2", "3.0.6", "3.1.8", "3.2.2", NEWEST)),
    *(Cell(NEWEST, python) for python in ("3.12", "3.13")),
)


@dataclass
class Result:
    """What became of a combination: ``passed``, ``FAILED`` or ``not run``."""

    cell: Cell
    outcome: str
    detail: str = ""
    tests: int = 0
    skipped: int = 0
    seconds: float = 0.0
    output: str = ""


def find_python(version: str) -> str | None:
    """
    Return a Python that runs, from the PATH or from pyenv, or None.

    :param version: such as ``3.12``
    """
    candidates = [f"python{version}"]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S607
        candidates += sorted(map(str, Path(root).glob(f"versions/{version}.*/bin/python")))
    for candidate in candidates:
        # A version manager's python3.12 on the PATH need not run.
        if (path := shutil.which(candidate)) and _answer(path, "import ensurepip, venv, sys; print(sys.executable)"):
            return path
    return None


def _answer(python: str, code: str) -> str:
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def run(cell: Cell, arguments: str) -> Result:
    """
    Make the environment if need be, run the tests in it, and see that all ran, on the right versions.

    :param arguments: more arguments for pytest
    """
    python = find_python(cell.python)
    if python is None:
        return Result(cell, "not run", f"there is no Python {cell.python} here")
    report = cell.environment / "report.xml"
    report.unlink(missing_ok=True)
    options = {
        "AIRFLOW": cell.airflow,
        "PYTHON": python,
        "VENV": cell.environment.name,
        "ARGS": f"-q --junit-xml={cell.environment.name}/report.xml {arguments}",
    }
    print(f"Airflow {cell.airflow}, Python {cell.python} ...", flush=True)
    started = time.monotonic()
    done = subprocess.run(
        ["make", "--no-print-directory", "test", *(f"{name}={value}" for name, value in options.items())],  # noqa: S607
        cwd=REPOSITORY,
        # The options of the make that runs this script are not for those it runs.
        env={name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    result = Result(cell, "FAILED", seconds=time.monotonic() - started, output=done.stdout)
    if not report.exists():
        result.detail = "did not get as far as the tests"
        return result
    (suite,) = ElementTree.parse(report).iter("testsuite")  # noqa: S314  # pytest has just written it
    tests, skipped, *failed = (int(suite.get(name, 0)) for name in ("tests", "skipped", "failures", "errors"))
    result.tests, result.skipped = tests - skipped - sum(failed), skipped
    installed = Cell(*_answer(str(cell.environment / "bin" / "python"), _INSTALLED).split())
    if installed != cell:
        result.detail = f"ran on Airflow {installed.airflow}, Python {installed.python}"
    elif done.returncode != 0:
        result.detail = f"{sum(failed)} of {tests} tests failed"
    elif skipped and cell.airflow == NEWEST:
        result.detail = f"{skipped} tests were skipped, although this Airflow has everything they can need"
    else:
        result.outcome = "passed"
    return result


def show(results: list[Result]) -> None:
    """Print what each combination that failed said, and a table of all."""
    for result in results:
        if result.outcome == "FAILED":
            print(f"\n--- Airflow {result.cell.airflow}, Python {result.cell.python}\n")
            print("\n".join(result.output.splitlines()[-LINES_OF_OUTPUT_SHOWN:]))
    print(f"\n{'Airflow':8} {'Python':7} {'outcome':8} {'tests':>5} {'skipped':>7} {'time':>6}")
    for result in results:
        airflow, python = result.cell
        counts = f"{result.tests:5} {result.skipped:7} {result.seconds:4.0f} s"
        print(f"{airflow:8} {python:7} {result.outcome:8} {counts}  {result.detail}".rstrip())


def write_table(results: list[Result]) -> None:
    """
    Put what passed into the README.

    :raises ValueError: if the README has no place for it
    """
    pythons = sorted({cell.python for cell in CELLS}, key=lambda version: int(version.partition(".")[2]))
    passed = {result.cell for result in results if result.outcome == "passed"}
    rows = [["Airflow", *(f"Python {python}" for python in pythons)], ["---"] * (len(pythons) + 1)]
    rows += [
        [airflow, *("tests pass" if Cell(airflow, python) in passed else "" for python in pythons)]
        for airflow in dict.fromkeys(cell.airflow for cell in reversed(CELLS))
    ]
    table = "\n".join(f"| {' | '.join(row)} |".replace("|  ", "| ") for row in rows)
    write_block(README, BEGIN, END, table)


def main() -> int:
    """Run the combinations, and return 0 if none failed and, with CI=true, all were run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--airflow", action="append", help="only this version (may be repeated)")
    parser.add_argument("--jobs", type=int, default=1, help="how many to run at once (default: %(default)s)")
    parser.add_argument("--pytest", default="", help="more arguments for pytest, such as '-k sensor'")
    parser.add_argument("--write", action="store_true", help="if all passed, put the table into the README")
    options = parser.parse_args()

    cells = [cell for cell in CELLS if not options.airflow or cell.airflow in options.airflow]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda cell: run(cell, options.pytest), cells))
    show(results)
    all_passed = [result.cell for result in results if result.outcome == "passed"] == list(CELLS)
    if options.write:
        if not all_passed:
            print("README.md stays as it is: not every combination was run and passed.")
            return 1
        write_table(results)
    allowed = {"passed"} if os.environ.get("CI") == "true" else {"passed", "not run"}
    return int(any(result.outcome not in allowed for result in results))


if __name__ == "__main__":
    sys.exit(main())

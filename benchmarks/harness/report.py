"""The form of a benchmark's report, and the command line of one benchmark."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_PACKAGES = (
    "airflow-provider-chartmogul",
    "apache-airflow",
    "apache-airflow-providers-http",
    "apache-airflow-providers-dbt-cloud",
    "airflow-provider-fivetran-async",
    "chartmogul",
    "requests",
)


class Row(NamedTuple):
    """A row of the table in the README: the comparison with its latency, ours, the other's, and the ratio."""

    subject: str
    ours: str
    instead: str
    ratio: str


@dataclass(frozen=True)
class Report:
    """
    The findings of a benchmark.

    :param title: heading
    :param body: tables and verdicts, Markdown
    :param remarks: causes of the figures
    :param readme: rows for the README
    """

    title: str
    body: str
    remarks: str
    readme: Sequence[Row] = ()


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  ", "| ") for cells in lines)


def readme_table(rows: Iterable[Row]) -> str:
    """Return the table of the README; rows with no difference beyond that between runs say so."""
    cells = [[*row[:-1], f"{row.ratio} (equal)" if 0.95 <= float(row.ratio) <= 1.05 else row.ratio] for row in rows]
    return table(["", "this provider", "instead", "ratio"], cells)


def environment() -> str:
    """Return the versions and the machine that the figures hold for."""
    packages = ", ".join(f"{package} {_version(package)}" for package in _PACKAGES)
    return (
        f"{packages}; Python {platform.python_version()}, {platform.system()} {platform.release()}, {_processor()}, "
        f"{os.cpu_count()} cores"
    )


def progress(text: str) -> None:
    """Print a line to stderr; the report goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def main(command: str, description: str | None, measure: Callable[[bool], Report]) -> int:
    """
    Run one benchmark and print its report.

    :param command: the command to repeat it
    :param description: for ``--help``
    :param measure: the benchmark; its argument is whether to do no more than show that it works
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="only show that it works; the figures mean nothing")
    found = measure(parser.parse_args().smoke)
    print(f"{environment()}\n\n{section(command, description, found)}\n\n{readme_table(found.readme)}")
    return 0


def section(command: str, description: str | None, report: Report) -> str:
    """Return the section of RESULTS.md for one benchmark."""
    parts = [f"## {report.title}", (description or "").strip(), f"`{command}`", report.body, report.remarks]
    return "\n\n".join(parts)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())

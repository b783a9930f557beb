"""What the answer to a question looks like, and how one benchmark is run from the command line."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.harness.plot import Plot

_PACKAGES = (
    "airflow-provider-chartmogul",
    "apache-airflow",
    "apache-airflow-providers-http",
    "apache-airflow-providers-dbt-cloud",
    "airflow-provider-fivetran-async",
    "chartmogul",
    "requests",
)


@dataclass(frozen=True)
class InShort:
    """
    A line of the table in the README.

    :param what: what is compared
    :param ours: what it costs with this provider
    :param instead: what it costs with what a user would pick instead, and what that is
    :param ratio: the one in terms of the other, measured in the same run
    """

    what: str
    ours: str
    instead: str
    ratio: str


@dataclass(frozen=True)
class Answer:
    """
    What a benchmark found.

    :param title: the question
    :param body: tables and what they say, in Markdown
    :param remarks: what dominates, what remains and why
    :param in_short: the line of it for the README
    :param plots: pictures that go with it
    """

    title: str
    body: str
    remarks: str
    in_short: InShort
    plots: Sequence[Plot] = ()


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  ", "| ") for cells in lines)


def environment() -> str:
    """Say on what the figures were measured."""
    packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return (
        f"{packages}; Python {platform.python_version()}, {platform.system()} {platform.release()}, {_processor()}, "
        f"{os.cpu_count()} cores"
    )


def progress(text: str) -> None:
    """Tell who watches how far it is; the answer itself goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def main(command: str, description: str | None, answer: Callable[[bool], Answer]) -> int:
    """
    Run one benchmark and print its answer.

    :param command: how a reader runs it again
    :param description: what it does, for ``--help``
    :param answer: the benchmark; it is told whether to do no more than show that it works
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="only see whether it works; the figures mean nothing")
    found = answer(parser.parse_args().smoke)
    print(f"{environment()}\n\n## {found.title}\n\n`{command}`\n\n{found.body}\n\n{found.remarks}")
    return 0


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())

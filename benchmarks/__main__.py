"""Run all benchmarks; write the findings into RESULTS.md, and a table of them into the README."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import airflow_cost, export, parse, retrieve, waiting, watching
from benchmarks.harness.report import environment, progress, readme_table, section
from scripts.readme_block import write_block

REPOSITORY = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.harness.report import Report

RESULTS = REPOSITORY / "benchmarks/RESULTS.md"
BEGIN = "<!-- benchmarks: written by `make bench` -->"
END = "<!-- end of benchmarks -->"
QUESTIONS = (parse, retrieve, export, waiting, watching, airflow_cost)


def main() -> int:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="only show that all of them work; write nothing")
    is_smoke = parser.parse_args().smoke
    started_at = time.monotonic()
    reports = [question.measure(is_smoke) for question in QUESTIONS]
    text = results(reports, (time.monotonic() - started_at) / 60)
    if is_smoke:
        print(text)
    else:
        RESULTS.write_text(text)
        write_block(REPOSITORY / "README.md", BEGIN, END, short_table(reports))
        progress(f"written: {RESULTS}, and the table in the README")
    return 0


def results(reports: Sequence[Report], minutes: float) -> str:
    """
    Return all findings as Markdown.

    :param reports: those of :data:`QUESTIONS`
    :param minutes: the time that they took
    """
    sections = [section(q.COMMAND, q.__doc__, found) for q, found in zip(QUESTIONS, reports, strict=True)]
    head = f"# Results\n\nWritten by `make bench` in {minutes:.0f} minutes, on {environment()}."
    return "\n\n".join([head, "Figures side by side come from the same run.", short_table(reports), *sections]) + "\n"


def short_table(reports: Sequence[Report]) -> str:
    """Return the table of the README."""
    return readme_table([row for report in reports for row in report.readme])


if __name__ == "__main__":
    sys.exit(main())

"""Run all benchmarks and write what they found into RESULTS.md, and the short of it into the README."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import airflow_cost, export, parse, retrieve, waiting, watching
from benchmarks.harness.report import environment, progress, table
from scripts.readme_block import write_block

REPOSITORY = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from benchmarks.harness.report import Answer

FOLDER = REPOSITORY / "benchmarks"
BEGIN = "<!-- benchmarks: written by `make bench` -->"
END = "<!-- end of benchmarks -->"
QUESTIONS = (parse, retrieve, export, waiting, watching, airflow_cost)


def main() -> int:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="only see whether all of them work, in less than two minutes; write nothing",
    )
    is_smoke = parser.parse_args().smoke
    started_at = time.monotonic()
    answers = {question.COMMAND: question.answer(is_smoke) for question in QUESTIONS}
    minutes = (time.monotonic() - started_at) / 60
    if is_smoke:
        print(results(answers, minutes))
    else:
        write(answers, minutes)
        progress(f"written: {FOLDER / 'RESULTS.md'}, plots beside it, and the table in the README")
    return 0


def write(answers: dict[str, Answer], minutes: float) -> None:
    """Write what was found where readers look for it; see :func:`results`."""
    (FOLDER / "RESULTS.md").write_text(results(answers, minutes))
    write_block(REPOSITORY / "README.md", BEGIN, END, short_table(list(answers.values())))
    for answer in answers.values():
        for plot in answer.plots:
            plot.write(FOLDER / "plots")


def results(answers: dict[str, Answer], minutes: float) -> str:
    """
    Return all that was found, as Markdown.

    :param answers: by the command that gives them
    :param minutes: how long it took
    """
    sections = [
        f"# Results\n\nWritten by `make bench` in {minutes:.0f} minutes, on {environment()}.",
        "What stands side by side comes from the same run.",
        short_table(list(answers.values())),
    ]
    for question, (command, answer) in zip(QUESTIONS, answers.items(), strict=True):
        about = (question.__doc__ or "").strip()
        sections += [f"## {answer.title}", about, f"`{command}`", answer.body, answer.remarks]
        sections += [f"![{plot.title}](plots/{plot.name}.svg)" for plot in answer.plots]
    return "\n\n".join(sections) + "\n"


def short_table(answers: list[Answer]) -> str:
    """Return a line for each question."""
    lines = [answer.in_short for answer in answers]
    return table(
        ["", "this provider", "instead", "of that"],
        [[line.what, line.ours, line.instead, line.ratio] for line in lines],
    )


if __name__ == "__main__":
    sys.exit(main())

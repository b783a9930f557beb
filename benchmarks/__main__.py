"""Run all benchmarks and write what they found into RESULTS.md, and the short of it into the README."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import airflow_cost, export, parse, retrieve, waiting, watching
from benchmarks.harness.report import environment, progress, table

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "scripts"))

from readme_block import write_block  # noqa: E402  # scripts are no package

if TYPE_CHECKING:
    from benchmarks.harness.report import Answer

FOLDER = REPOSITORY / "benchmarks"
BEGIN = "<!-- benchmarks: written by `make bench` -->"
END = "<!-- end of benchmarks -->"
# In the order of the results. What needs the machine to itself most comes before what leaves it warm.
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
    in_short = short_table(list(answers.values()))
    sections = [
        f"# Results\n\nWritten by `make bench` in {minutes:.0f} minutes, on {environment()}.",
        "What stands side by side comes from the same run.",
        in_short,
    ]
    for question, (command, answer) in zip(QUESTIONS, answers.items(), strict=True):
        about = (question.__doc__ or "").strip()
        sections.append(f"## {answer.title}\n\n{about}\n\n`{command}`\n\n{answer.body}")
        sections += [f"![{plot.title}](plots/{plot.name}.svg)" for plot in answer.plots]
    results = "\n\n".join(sections) + "\n"
    if is_smoke:
        print(results)
        return 0
    for answer in answers.values():
        for plot in answer.plots:
            plot.write(FOLDER / "plots")
    (FOLDER / "RESULTS.md").write_text(results)
    write_block(REPOSITORY / "README.md", BEGIN, END, in_short)
    progress(f"written: {FOLDER / 'RESULTS.md'}, plots beside it, and the table in the README")
    return 0


def short_table(answers: list[Answer]) -> str:
    """Return a line for each question."""
    lines = [answer.in_short for answer in answers]
    return table(
        ["", "this provider", "instead", "ratio"], [[line.what, line.ours, line.instead, line.ratio] for line in lines]
    )


if __name__ == "__main__":
    sys.exit(main())

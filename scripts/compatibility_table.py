"""Write the README's table of compatibility from a report of nox: ``python -m scripts.compatibility_table REPORT``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from scripts.isolation import REPOSITORY
from scripts.readme_block import write_block

BEGIN = "<!-- compatibility: written by `make test-matrix` -->"
END = "<!-- end of compatibility -->"


def table(report: dict[str, list[dict[str, object]]]) -> str:
    """
    Return a Markdown table of the combinations in a report.

    :raises ValueError: if one of them did not pass
    """
    cells = []
    for session in report["sessions"]:
        if session["result"] != "success":
            raise ValueError(f"{session['signatures']}: {session['result']}")
        cells.append(re.findall(r"'([\d.]+)'", str(session["signatures"])))
    pythons = sorted({python for _, python in cells}, key=lambda python: int(python.partition(".")[2]))
    rows = [["Airflow", *(f"Python {python}" for python in pythons)], ["---"] * (len(pythons) + 1)]
    rows += [
        [airflow, *("tests pass" if [airflow, python] in cells else "" for python in pythons)]
        for airflow in dict.fromkeys(airflow for airflow, _ in cells)
    ]
    return "\n".join(f"| {' | '.join(row)} |".replace("|  ", "| ") for row in rows)


if __name__ == "__main__":
    write_block(REPOSITORY / "README.md", BEGIN, END, table(json.loads(Path(sys.argv[1]).read_text())))

"""The tests on each supported Airflow and Python: ``make test-matrix``; ``nox --list`` shows the combinations."""

from __future__ import annotations

import nox

NEWEST = "3.3.2"
OLDER = ("3.2.2", "3.1.8", "3.0.6", "2.11.2")
MATRIX = [*((NEWEST, python) for python in ("3.11", "3.12", "3.13")), *((airflow, "3.11") for airflow in OLDER)]

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"


@nox.session
@nox.parametrize(("airflow", "python"), MATRIX)
def tests(session: nox.Session, airflow: str) -> None:
    """Run the tests; on the newest Airflow, which has everything that a test can need, none may be skipped."""
    session.install("--constraint", f"constraints/airflow-{airflow}.txt", "--editable=.[sandbox]", "--group=test")
    session.run("python", "-c", f"import airflow; assert airflow.__version__ == {airflow!r}", silent=True)
    no_skips = ["-p", "scripts.no_skips"] if airflow == NEWEST else []
    session.run(
        "python",
        "-m",
        "pytest",
        "--ignore-glob=tests/e2e*",
        "--numprocesses=6",
        "--dist=worksteal",
        *no_skips,
        *session.posargs,
    )
    if not session.posargs:
        session.run("python", "-m", "pytest", "tests/e2e_docs")

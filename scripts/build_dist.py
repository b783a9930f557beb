"""Build the sdist and the wheel, check them, and try the wheel in a separate environment."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from scripts.isolation import REPOSITORY, airflow_environment, write_airflow_config

DIST = REPOSITORY / "dist"
DISTRIBUTION = "airflow-provider-chartmogul"
PACKAGE = "airflow_provider_chartmogul"
DAG_FACING_MODULES = (
    *("hooks.chartmogul", "operators.opportunity", "sensors.opportunity", "transfers.object_storage"),
    *("triggers.opportunity", "opportunity"),
)
SDIST_TESTS = ("tests/docs/test_links.py", "tests/opportunity")
SMOKE_TEST = "example_retrieve_opportunity"
SANDBOX = f"""
import signal
from {PACKAGE}.sandbox import Sandbox
with Sandbox() as sandbox:
    print(sandbox.connection_json, flush=True)
    signal.pause()
"""


def run(*command: str, environment: dict[str, str] | None = None, folder: Path | None = None) -> str:
    """Run a command and return its standard output; exit with all of its output if it fails."""
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}\nFailed: {' '.join(command)}")
    return done.stdout


def build(source: Path, folder: Path) -> dict[str, bytes]:
    """Build into an empty folder, dated by the last commit, and return the files' content by name."""
    shutil.rmtree(folder, ignore_errors=True)
    last_commit = run("git", "-C", str(REPOSITORY), "log", "-1", "--format=%ct").strip()
    run(
        *(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)),
        environment={**os.environ, "SOURCE_DATE_EPOCH": last_commit},
    )
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def check_content(wheel: Path, source: Path) -> None:
    """Check that the wheel holds only the package, and the sdist, unpacked to ``source``, the repository."""
    tracked = set(run("git", "-C", str(REPOSITORY), "ls-files").splitlines())
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
    if difference := files ^ {name for name in tracked if name.startswith(f"{PACKAGE}/")}:
        sys.exit(f"{wheel.name} and {PACKAGE}/ differ in {', '.join(sorted(difference))}")
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    if difference := files ^ {*tracked, "PKG-INFO"}:
        sys.exit(f"The sdist and the repository differ in {', '.join(sorted(difference))}")


def try_sdist(source: Path) -> None:
    """Build the docs and run some of the tests from an unpacked sdist, whose modules precede the installed ones."""
    python = (sys.executable, "-m")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    run(*python, "sphinx", "--fail-on-warning", "--quiet", "docs", "build/docs", folder=source, environment=environment)
    run(*python, "pytest", "-q", "-p", "no:cacheprovider", *SDIST_TESTS, folder=source, environment=environment)
    print(f"The sdist builds the docs and passes {', '.join(SDIST_TESTS)}.")


def try_wheel(wheel: Path, constraints: str) -> None:
    """Install the wheel into a separate environment, list it with Airflow and run a DAG."""
    with tempfile.TemporaryDirectory(prefix="chartmogul-dist-") as scratch:
        venv.create(Path(scratch) / "venv", with_pip=True)
        python = str(Path(scratch) / "venv" / "bin" / "python")
        install = (python, "-m", "pip", "install", "--constraint", constraints)
        run(*install, str(wheel))
        home = Path(scratch) / "airflow"
        write_airflow_config(home)
        environment = airflow_environment(home)
        imports = "; ".join(f"import {PACKAGE}.{name}" for name in DAG_FACING_MODULES)
        run(python, "-c", imports, environment=environment)
        airflow = (python, "-m", "airflow")
        listed = run(*airflow, "providers", "list", "--output", "json", environment=environment)
        if DISTRIBUTION not in {provider["package_name"] for provider in json.loads(listed)}:
            sys.exit(f"`airflow providers list` does not show {DISTRIBUTION}:\n{listed}")
        print(run(*airflow, "providers", "get", DISTRIBUTION, environment=environment))

        run(*install, f"{wheel}[sandbox]")
        run(*airflow, "db", "migrate", environment=environment)
        with subprocess.Popen((python, "-c", SANDBOX), env=environment, stdout=subprocess.PIPE, text=True) as sandbox:
            try:
                connection = sandbox.stdout.readline().strip() if sandbox.stdout else ""
                environment["AIRFLOW_CONN_CHARTMOGUL_DEFAULT"] = connection
                run(*airflow, "dags", "test", SMOKE_TEST, environment=environment)
            finally:
                sandbox.terminate()
        print(f"{SMOKE_TEST} succeeded.")


def main() -> None:
    """Fill dist/ with the archives to publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--constraint", required=True, help="the constraints to install the wheel with")
    constraints = parser.parse_args().constraint

    first = build(REPOSITORY, DIST)
    archives = sorted(DIST.iterdir())
    print(run(sys.executable, "-m", "twine", "check", "--strict", *map(str, archives)))
    with tempfile.TemporaryDirectory() as elsewhere:
        with tarfile.open(next(DIST.glob("*.tar.gz"))) as sdist:
            sdist.extractall(elsewhere, filter="data")
        (source,) = Path(elsewhere).iterdir()
        check_content(next(DIST.glob("*.whl")), source)
        (source / "PKG-INFO").unlink()  # the new archive would hold both
        if build(source, Path(elsewhere) / "dist") != first:
            sys.exit("The archives differ from those that are built from the sdist.")
        try_sdist(source)
    try_wheel(next(DIST.glob("*.whl")), constraints)
    print("\n".join(f"{archive.relative_to(REPOSITORY)}" for archive in archives))


if __name__ == "__main__":
    main()

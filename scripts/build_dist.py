"""Build the sdist and the wheel, check them, and try the wheel in an environment of its own."""

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

from scripts.isolation import REPOSITORY, airflow_environment

DIST = REPOSITORY / "dist"
DISTRIBUTION = "airflow-provider-chartmogul"
PACKAGE = "airflow_provider_chartmogul"
BESIDE_THE_PACKAGE = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
DAG_FACING_MODULES = (
    *("hooks.chartmogul", "operators.opportunity", "sensors.opportunity", "transfers.object_storage"),
    *("triggers.opportunity", "opportunity"),
)
SMOKE_TEST = "example_retrieve_opportunity"
SANDBOX = f"""
import signal
from {PACKAGE}.sandbox import Sandbox
with Sandbox() as sandbox:
    print(sandbox.connection_json, flush=True)
    signal.pause()
"""


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it prints; end with everything it said if it fails."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
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


def copy_of_source(folder: Path) -> Path:
    """Copy what goes into the archives to another folder, where each file has the time of now."""
    without_bytecode = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / PACKAGE, folder / PACKAGE, ignore=without_bytecode, copy_function=shutil.copy)
    for name in BESIDE_THE_PACKAGE - {"PKG-INFO"}:
        shutil.copy(REPOSITORY / name, folder)
    return folder


def files_in(archive: Path) -> set[str]:
    """List the files in a wheel, without its metadata, or in an sdist, without its top folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name for name in wheel.namelist() if ".dist-info/" not in name}
    with tarfile.open(archive) as sdist:
        return {member.name.partition("/")[2] for member in sdist if member.isfile()}


def check_content(archive: Path) -> None:
    """Make sure that an archive holds the whole package and nothing else, tests in particular."""
    package = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if difference := (files_in(archive) - BESIDE_THE_PACKAGE) ^ package:
        sys.exit(f"{archive.name} and {PACKAGE}/ differ in {', '.join(sorted(difference))}")


def try_wheel(wheel: Path, constraints: str) -> None:
    """Install the wheel into an environment of its own, and see whether Airflow lists it and a DAG runs."""
    with tempfile.TemporaryDirectory(prefix="chartmogul-dist-") as scratch:
        venv.create(Path(scratch) / "venv", with_pip=True)
        python = str(Path(scratch) / "venv" / "bin" / "python")
        install = (python, "-m", "pip", "install", "--constraint", constraints)
        run(*install, str(wheel))
        environment = airflow_environment(Path(scratch) / "airflow")
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
    """Fill dist/ with what can be published."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--constraint", required=True, help="the constraints to install the wheel with")
    constraints = parser.parse_args().constraint

    with tempfile.TemporaryDirectory() as elsewhere:
        copy = copy_of_source(Path(elsewhere))
        if build(REPOSITORY, DIST) != build(copy, Path(elsewhere) / "dist"):
            sys.exit("Two builds of the same files, in different folders, differ.")
    archives = sorted(DIST.iterdir())
    print(run(sys.executable, "-m", "twine", "check", "--strict", *map(str, archives)))
    for archive in archives:
        check_content(archive)
    try_wheel(next(DIST.glob("*.whl")), constraints)
    print("\n".join(f"{archive.relative_to(REPOSITORY)}" for archive in archives))


if __name__ == "__main__":
    main()

"""The test suites in the documentation pass; one of them runs a whole DAG, with a database."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.test_code_blocks import file_name, written
from tests.support.docs_pages import BLOCKS, name_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if file_name(block)}), ids=name_of)
def test_test_suites_pass(page: Path, tmp_path: Path) -> None:
    for block in BLOCKS:
        if block.page == page and file_name(block):
            written(block, tmp_path)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir=.", "-q"]
    # As a reader's: without the settings of this Airflow.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    done = subprocess.run(  # noqa: S603  # pytest
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout

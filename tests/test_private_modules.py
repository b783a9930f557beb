from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "airflow_provider_chartmogul"
TESTS = Path(__file__).parent


def private_names(file: Path) -> set[str]:
    """Return the names of private modules that a file imports, or writes as text for ``monkeypatch``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.ImportFrom(module=str(module)):
                names |= {f"{module}.{alias.name}" for alias in node.names}
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.Constant(value=str(text)):
                names.add(text)
    return {name for name in names if re.match(rf"{PACKAGE.name}\.([a-z]\w*\.)*_[a-z]", name)}


def test_a_private_module_is_used_by_the_tests_of_its_own_package_only() -> None:
    strangers = {
        (file.relative_to(TESTS).as_posix(), name)
        for file in TESTS.rglob("*.py")
        for name in private_names(file)
        if name.split(".")[1].lstrip("_") != file.relative_to(TESTS).parts[0]
    }
    assert strangers == set()

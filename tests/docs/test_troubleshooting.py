"""The troubleshooting page quotes the messages of the code and lists each error class."""

from __future__ import annotations

import ast
import re

import pytest

import airflow_provider_chartmogul
from airflow_provider_chartmogul import exceptions
from airflow_provider_chartmogul.exceptions import ChartMogulError
from tests.support.docs_pages import REPOSITORY, prose_of

PAGE = prose_of(REPOSITORY / "docs" / "troubleshooting.md").replace("\\|", "|")
ON_ONE_LINE = " ".join(PAGE.split())
PACKAGE = REPOSITORY / airflow_provider_chartmogul.__name__
ERRORS = {
    name: error
    for name, error in vars(exceptions).items()
    if isinstance(error, type) and issubclass(error, ChartMogulError) and error is not ChartMogulError
}


def as_pattern(node: ast.expr) -> str | None:
    """Return the text of an expression, with … for run-time values; None if it is not text."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"%(\.\d)?[sdrf]", "…", text)
        case ast.JoinedStr(values=values):
            return re.sub("…+", "…", "".join(as_pattern(value) or "…" for value in values))
    return None


def texts() -> set[str]:
    """Return all text in the package but the sandbox's."""
    return {
        text
        for path in PACKAGE.rglob("*.py")
        if "sandbox" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.expr) and (text := as_pattern(node))
    }


TEXTS = texts() | {error.advice for error in ERRORS.values()}


def fits(shown: str, text: str) -> bool:
    """Return whether the page shows a message of the code, or the beginning of one that continues with …."""
    return shown == text or (text.endswith("…") and shown.rstrip("…").rstrip() == text.rstrip("…").rstrip())


def shown_messages() -> list[str]:
    cells = [line.split(" | ")[0].removeprefix("| ") for line in PAGE.splitlines() if line.startswith("| ")]
    found = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    return [text for text in found if not text.startswith(("ChartMogul", "No module named"))]


@pytest.mark.parametrize("shown", shown_messages())
def test_each_message_in_a_table_is_one_of_the_code(shown: str) -> None:
    assert any(fits(shown, text) for text in TEXTS)


@pytest.mark.parametrize("name", ERRORS)
def test_each_error_is_on_the_page_with_its_advice(name: str) -> None:
    assert f"`{name}`" in ON_ONE_LINE
    assert ERRORS[name].advice in ON_ONE_LINE

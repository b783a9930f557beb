"""The page of error messages names those that there are, and no others."""

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
# Never shown: caught where they are raised.
INTERNAL = {"not a shard"}


def as_pattern(node: ast.expr) -> str | None:
    """Return the text of an expression, with … for what is known only at run time; None if it is not text."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"%(\.\d)?[sdrf]", "…", text)
        case ast.JoinedStr(values=values):
            return re.sub("…+", "…", "".join(as_pattern(value) or "…" for value in values))
    return None


def messages() -> dict[str, set[str]]:
    """Return all text in the package but the sandbox's, by where it stands: ``raised`` or elsewhere."""
    found: dict[str, set[str]] = {"raised": set(), "anywhere": set()}
    for path in PACKAGE.rglob("*.py"):
        if "sandbox" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.expr) and (text := as_pattern(node)):
                found["anywhere"].add(text)
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Error", "_error")) and node.args:
                found["raised"] |= {text for text in [as_pattern(node.args[0])] if text}
    return found


MESSAGES = messages()


def fits(shown: str, text: str) -> bool:
    """Tell whether what the page shows is a message of the code, or the beginning of one that goes on with …."""
    return shown == text or (text.endswith("…") and shown.rstrip("…").rstrip() == text.rstrip("…").rstrip())


def shown_messages() -> list[str]:
    cells = [line.split(" | ")[0].removeprefix("| ") for line in PAGE.splitlines() if line.startswith("| ")]
    return [text for cell in cells for text in re.findall(r"`([^`]+)`", cell) if not text.startswith("ChartMogul")]


@pytest.mark.parametrize("shown", shown_messages())
def test_each_message_in_a_table_is_one_of_the_code(shown: str) -> None:
    known = MESSAGES["anywhere"] | {error.advice for error in ERRORS.values()}
    assert any(fits(shown, text) for text in known)


@pytest.mark.parametrize("text", sorted(MESSAGES["raised"] - INTERNAL))
def test_each_message_that_is_raised_is_on_the_page(text: str) -> None:
    assert any(fits(shown, text) for shown in re.findall(r"`([^`]+)`", ON_ONE_LINE))


@pytest.mark.parametrize("name", ERRORS)
def test_each_error_is_on_the_page_with_its_advice(name: str) -> None:
    assert f"`{name}`" in ON_ONE_LINE
    assert ERRORS[name].advice in ON_ONE_LINE

"""Operator parameters before Airflow renders them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_templated(value: object) -> bool:
    """Return whether a value is known only at run time: a Jinja template, or another task's output."""
    if isinstance(value, str):
        return any(start in value for start in ("{{", "{%", "{#"))
    # Airflow resolves these when it renders: XComArg, DagParam, the results of expand, ...
    return hasattr(value, "resolve")


def non_templated(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields whose values are known at parse time; of a dict, its known entries."""
    known = {name: value for name, value in fields.items() if not is_templated(value)}
    return {name: non_templated(value) if isinstance(value, dict) else value for name, value in known.items()}

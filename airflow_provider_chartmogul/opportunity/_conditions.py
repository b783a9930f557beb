"""The condition that ends a wait."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul.opportunity._field_values import (
    check_field,
    display_value,
    is_value,
    normalize_values,
    read_field,
)
from airflow_provider_chartmogul.opportunity._values import check_forecast_categories, read_list, truncated_repr

if TYPE_CHECKING:
    from collections.abc import Callable

_DOTTED_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


class NotSet(Enum):
    """The type of :data:`NOTSET`; an enumeration, since its members survive copies and pickling."""

    NOTSET = "NOTSET"


NOTSET = NotSet.NOTSET
"""The default of a baseline, since None means null."""


@dataclass(frozen=True, slots=True)
class WaitCondition:
    """
    The condition on a field that ends a wait.

    :param field: as :func:`check_field` returns it
    :param targets: the values to wait for; None: any but the baseline
    :param failures: the values that end the wait as a failure
    :param failure_parameter: the name of the parameter with the failure values, for messages
    :param predicate: called with the opportunity's JSON, instead of a comparison with targets
    """

    field: str
    targets: tuple[Any, ...] | None
    failures: tuple[Any, ...]
    failure_parameter: str = "failure_values"
    predicate: Callable[[dict[str, Any]], Any] | None = None

    @classmethod
    def parse(cls, field: str, target_values: Any, failure_values: Any, condition: str | None = None) -> WaitCondition:
        """
        Parse the values that users write.

        :param target_values: one value or several; None: any but the baseline
        :param failure_values: one value or several; None: no value
        :param condition: the dotted path of a predicate; it is imported
        :raises ValueError: if the field cannot have a value, if there is none to wait for, if one is both a target
            and a failure, or if the predicate cannot be imported
        """
        field = check_field(field)
        targets = None if target_values is None else normalize_values(field, target_values, "target_values")
        failures = () if failure_values is None else normalize_values(field, failure_values, "failure_values")
        _check_distinct(field, targets, failures, ("target_values", "failure_values"))
        return cls(field, targets, failures, predicate=None if condition is None else _load(condition))

    @classmethod
    def parse_categories(cls, target_categories: Any, failure_categories: Any) -> WaitCondition:
        """
        Parse the forecast categories that users write.

        :raises ValueError: if ChartMogul has no such category, if there is none to wait for, or if one is both a
            target and a failure
        """
        targets = None
        if target_categories is not None:
            targets = tuple(sorted(check_forecast_categories(read_list(target_categories), "target_categories")))
            if not targets:
                raise ValueError("target_categories: empty; name a category, or give None to wait for any change.")
        failures = tuple(sorted(check_forecast_categories(read_list(failure_categories or ()), "failure_categories")))
        _check_distinct("forecast_category", targets, failures, ("target_categories", "failure_categories"))
        return cls("forecast_category", targets, failures, "failure_categories")

    def __str__(self) -> str:
        """Name the awaited values, for a log line."""
        if self.predicate is not None:
            # Objects that can be called, such as functools.partial's, have no name of their own.
            name = getattr(self.predicate, "__qualname__", type(self.predicate).__qualname__)
            return f"{self.predicate.__module__}.{name}"
        if self.targets is None:
            return "any change"
        return " or ".join(sorted(display_value(self.field, target) for target in self.targets))

    @property
    def label(self) -> str:
        """Name the field, for a log line."""
        return self.field if self.field.startswith("custom.") else self.field.replace("_", " ")

    @property
    def needs_baseline(self) -> bool:
        """Return whether the wait is for a change from a baseline, which has to be known."""
        return self.targets is None and self.predicate is None

    def value_of(self, opportunity: dict[str, Any]) -> Any:
        """Return the value of the field in an opportunity's JSON."""
        return read_field(opportunity, self.field)

    def read(self, opportunity: dict[str, Any]) -> Any:
        """Return the part of an opportunity's JSON that the condition depends on."""
        return opportunity if self.predicate is not None else self.value_of(opportunity)

    def describe(self, value: Any) -> str:
        """Return the end of a log line about an opportunity that does not meet the condition yet."""
        return f"{self.label} {display_value(self.field, value)}, waiting for {self}."

    def describe_end(self, value: Any) -> str:
        """Return the end of a message about an opportunity whose value ends the wait."""
        reason = f", one of {self.failure_parameter}" if self.is_failure(value) else ""
        return f"{self.label} is now {display_value(self.field, value)}{reason}"

    def is_failure(self, value: Any) -> bool:
        """Return whether a value of the field ends the wait as a failure."""
        return any(is_value(self.field, value, failure) for failure in self.failures)

    def is_target(self, value: Any, baseline: Any) -> bool:
        """
        Return whether a value of the field ends the wait as a success, without calling a predicate.

        :param baseline: the value when the wait began
        """
        if self.predicate is not None:
            return True
        if self.targets is None:
            return not is_value(self.field, value, baseline)
        return any(is_value(self.field, value, target) for target in self.targets)

    def is_met(self, opportunity: dict[str, Any], baseline: Any) -> bool:
        """
        Return whether an opportunity ends the wait as a success.

        :param opportunity: its JSON
        :param baseline: the value of the field when the wait began
        """
        if self.predicate is not None:
            return _truth(self.predicate(opportunity), str(self))
        return self.is_target(self.value_of(opportunity), baseline)


def check_condition(path: object) -> None:
    """
    Validate the dotted path of a predicate, without importing it.

    :raises ValueError: if it is not a dotted path
    """
    if not isinstance(path, str) or not _DOTTED_PATH.fullmatch(path):
        raise ValueError(
            f"condition: expected the dotted path of a function, like my_module.is_large, not {truncated_repr(path)}."
        )


def _check_distinct(
    field: str, targets: tuple[Any, ...] | None, failures: tuple[Any, ...], parameters: tuple[str, str]
) -> None:
    both = [target for target in targets or () if any(is_value(field, target, failure) for failure in failures)]
    if both:
        shown = ", ".join(display_value(field, value) for value in both)
        raise ValueError(f"{shown}: in {parameters[0]} and in {parameters[1]}.")


def _load(path: str) -> Callable[[dict[str, Any]], Any]:
    check_condition(path)
    module, _, name = path.rpartition(".")
    try:
        predicate = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module may raise anything
        reason = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"condition: {path} cannot be imported ({reason}). Its module has to be installed, or in the plugins "
            "folder, where the workers and, for deferrable waits, the triggerer run."
        ) from error
    if not callable(predicate):
        raise ValueError(f"condition: {path} is not a function.")
    if inspect.iscoroutinefunction(predicate) or inspect.isgeneratorfunction(predicate):
        # Each call returns an object, which is true, without running the function.
        raise ValueError(f"condition: {path} is asynchronous or a generator; write a plain function.")
    return predicate  # type: ignore[no-any-return]


def _truth(result: object, name: str) -> bool:
    if isinstance(result, str) or inspect.isawaitable(result):  # "false" and coroutines are true
        raise TypeError(f"condition: {name} returned {truncated_repr(result)}, neither true nor false.")
    return bool(result)

"""The condition that ends a wait."""

from __future__ import annotations

import copy
import functools
import pickle
import re
from typing import TYPE_CHECKING, Any

import numpy
import pytest

from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.opportunity._conditions import NOTSET, WaitCondition, check_condition
from airflow_provider_chartmogul.opportunity._values import check_awaited_uuids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UUID = "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc"
OTHER = "5ee13ca4-e7fe-11ee-fa7f-f303abf41acc"


def is_large(opportunity: dict[str, Any]) -> bool:
    return bool(opportunity["amount_in_cents"] > 1000)


NOT_CALLABLE = 5


def echo(opportunity: dict[str, Any]) -> Any:
    return opportunity["amount_in_cents"]


ECHO = functools.partial(echo)


def says_false(_opportunity: dict[str, Any]) -> str:
    return "false"


def returns_a_coroutine(opportunity: dict[str, Any]) -> Any:
    return asks_asynchronously(opportunity)


async def asks_asynchronously(_opportunity: dict[str, Any]) -> bool:
    return False


def yields(_opportunity: dict[str, Any]) -> Iterator[bool]:
    yield False


THIS = __name__


# Categories


def test_categories_to_wait_for_and_to_fail_on_must_differ() -> None:
    with pytest.raises(ValueError, match="lost, won: in target_categories and in failure_categories"):
        WaitCondition.parse_categories(["won", "lost", "committed"], ["lost", "won"])


def test_no_target_category_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="target_categories: empty"):
        WaitCondition.parse_categories([], None)


@pytest.mark.parametrize(
    ("targets", "category", "baseline", "is_met"),
    [
        ("won", "won", None, True),
        ("won", "won", "won", True),
        ("won", "lost", None, False),
        ("won", None, None, False),
        ("won", "unheard_of", "best_case", False),
        (["committed", ForecastCategory.WON], "won", None, True),
        (None, "best_case", "best_case", False),
        (None, "won", "best_case", True),
        (None, "unheard_of", "best_case", True),
        (None, None, "best_case", True),
        (None, None, None, False),
        (None, "won", None, True),
    ],
)
def test_a_category_ends_a_wait(targets: Any, category: str | None, baseline: str | None, *, is_met: bool) -> None:
    condition = WaitCondition.parse_categories(targets, None)
    assert condition.is_met({"forecast_category": category}, baseline) is is_met


def test_a_failure_category_is_no_success() -> None:
    condition = WaitCondition.parse_categories("won", "lost")
    assert condition.is_failure("lost")
    assert not condition.is_failure("won")
    assert not condition.is_failure(None)
    assert not condition.is_met({"forecast_category": "lost"}, None)


def test_a_wait_is_named_in_logs() -> None:
    assert str(WaitCondition.parse_categories({"won", "committed"}, None)) == "committed or won"
    assert str(WaitCondition.parse_categories(None, "lost")) == "any change"
    condition = WaitCondition.parse("custom.seats", [5, None], None)
    assert str(condition) == "5 or null"
    assert condition.describe(3) == "custom.seats 3, waiting for 5 or null."
    assert WaitCondition.parse("pipeline_stage", "x", None).describe("y") == "pipeline stage y, waiting for x."


# Fields


def test_a_target_that_is_a_failure_too_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="5000: in target_values and in failure_values"):
        WaitCondition.parse("amount_in_cents", ["5000", 1], 5000)


@pytest.mark.parametrize("parameter", ["target_values", "failure_values"])
@pytest.mark.parametrize("value", [[], "x", [5, None, "x"], True])
def test_values_that_the_field_cannot_have_are_refused_by_the_name_of_their_parameter(
    parameter: str, value: Any
) -> None:
    values = {"target_values": 1, "failure_values": 2, parameter: value}
    with pytest.raises(ValueError, match=f"^{parameter}: "):
        WaitCondition.parse("amount_in_cents", values["target_values"], values["failure_values"])


def test_zero_and_null_are_values() -> None:
    condition = WaitCondition.parse("amount_in_cents", [None], 0)
    assert condition.is_met({"amount_in_cents": None}, None)
    assert not condition.is_met({"amount_in_cents": 5}, None)
    assert condition.is_failure(0)


def test_only_a_wait_for_any_change_needs_a_baseline() -> None:
    assert WaitCondition.parse("owner", None, "a@example.com").needs_baseline
    assert not WaitCondition.parse("owner", "a@example.com", None).needs_baseline
    assert not WaitCondition.parse("owner", None, None, f"{THIS}.is_large").needs_baseline


def test_not_set_stays_itself_when_a_dag_is_copied() -> None:
    assert copy.deepcopy(NOTSET) is NOTSET
    assert pickle.loads(pickle.dumps(NOTSET)) is NOTSET  # noqa: S301  # our own bytes


# Predicates


def test_a_predicate_gets_the_json_and_decides() -> None:
    condition = WaitCondition.parse("amount_in_cents", None, 13, f"{THIS}.is_large")
    assert condition.is_met({"amount_in_cents": 1001}, None)
    assert not condition.is_met({"amount_in_cents": 1000}, None)
    assert condition.is_failure(13)
    assert str(condition) == f"{THIS}.is_large"
    opportunity = {"amount_in_cents": 1, "custom": {}}
    assert condition.read(opportunity) is opportunity


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module.is_large", "condition: no_such_module.is_large cannot be imported"),
        (f"{THIS}.is_small", f"condition: {THIS}.is_small cannot be imported"),
        (f"{THIS}.NOT_CALLABLE", "is not a function"),
        (f"{THIS}.asks_asynchronously", f"{THIS}.asks_asynchronously is asynchronous or a generator"),
        (f"{THIS}.yields", f"{THIS}.yields is asynchronous or a generator"),
        ("is_large", "expected the dotted path of a function"),
    ],
)
def test_a_predicate_that_cannot_be_imported_is_refused_by_name(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WaitCondition.parse("amount_in_cents", None, None, path)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('no database')", "RuntimeError: no database"),
        ("def (", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: "),
        ("import no_such_module", "No module named 'no_such_module'"),
    ],
)
def test_a_module_that_fails_when_it_is_imported_is_refused_by_name(
    source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_predicates.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    message = re.escape(f"condition: failing_predicates.is_large cannot be imported ({reason}")
    with pytest.raises(ValueError, match=message):
        WaitCondition.parse("amount_in_cents", None, None, "failing_predicates.is_large")


@pytest.mark.parametrize("name", ["says_false", "returns_a_coroutine"])
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_a_predicate_whose_result_is_no_truth_value_ends_no_wait(name: str) -> None:
    condition = WaitCondition.parse("amount_in_cents", None, None, f"{THIS}.{name}")
    with pytest.raises(TypeError, match=f"condition: {THIS}.{name} returned .*, neither true nor false"):
        condition.is_met({"amount_in_cents": 1}, None)


@pytest.mark.parametrize(("result", "is_met"), [(None, False), (0, False), (3, True), (numpy.True_, True)])
def test_a_predicate_may_return_anything_else_that_has_a_truth_value(result: Any, *, is_met: bool) -> None:
    condition = WaitCondition.parse("amount_in_cents", None, None, f"{THIS}.echo")
    assert condition.is_met({"amount_in_cents": result}, None) is is_met


def test_a_predicate_without_a_name_is_named_by_its_class() -> None:
    assert str(WaitCondition.parse("amount_in_cents", None, None, f"{THIS}.ECHO")) == "functools.partial"


@pytest.mark.parametrize("path", ["", "is_large", "a.", ".a", "a b.c", "os;x.y", "{{ params.x }}", None, 5, is_large])
def test_a_path_that_is_none_is_refused_before_anything_is_imported(path: Any) -> None:
    with pytest.raises(ValueError, match="condition: expected the dotted path"):
        check_condition(path)


# Several opportunities


@pytest.mark.parametrize(
    "value",
    [
        [UUID, OTHER],
        (UUID.upper(), OTHER),
        [UUID, OTHER, UUID],
        iter([UUID, OTHER]),
        f"{UUID},{OTHER}",
        f" {UUID} , {OTHER} ",
        f'["{UUID}", "{OTHER}"]',
        f"['{UUID}', '{OTHER}']",
    ],
)
def test_several_uuids_may_be_written_in_many_ways(value: Any) -> None:
    assert check_awaited_uuids(None, value, "all") == [UUID, OTHER]


@pytest.mark.parametrize("value", [[], (), "[]", " [ ] "])
def test_no_uuid_at_all_is_an_empty_list(value: Any) -> None:
    assert check_awaited_uuids(None, value, "all") == []


@pytest.mark.parametrize(
    "value",
    ["", " ", "None", ",", f"{UUID},", f"{UUID} {OTHER}", [None], [UUID, 5], 5, None, {UUID: "x"}, UUID.encode()],
)
def test_what_are_no_uuids_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^opportunity_uuids?: expected"):
        check_awaited_uuids(None, value, "all")

"""The arithmetic and the servers of the benchmarks; the measurements themselves are not tested."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import requests

from benchmarks.__main__ import BEGIN, END, REPOSITORY, short_table
from benchmarks.harness.account import Account, _Data
from benchmarks.harness.report import Report, Row, table
from benchmarks.harness.rounds import interleaved, ratio
from scripts.readme_block import write_block

if TYPE_CHECKING:
    from pathlib import Path


def test_a_table_aligns_all_but_its_first_column_to_the_right_and_keeps_empty_cells() -> None:
    assert table(["way", "time"], [["ours", "1 ms"], ["theirs", ""]]) == (
        "| way | time |\n| --- | --: |\n| ours | 1 ms |\n| theirs | |"
    )


def test_every_round_takes_each_measurement_once_and_not_always_in_the_same_order() -> None:
    taken: list[str] = []

    def take(name: str) -> int:
        taken.append(name)
        return len(taken)

    values = interleaved(20, {name: partial(take, name) for name in "abc"})
    rounds = [taken[start : start + 3] for start in range(0, 60, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(set(map(tuple, rounds))) > 1
    assert all(3 * number < value <= 3 * number + 3 for number, value in enumerate(values["b"]))


def test_a_ratio_is_that_of_a_typical_round_whatever_happened_in_another() -> None:
    assert ratio([2.0, 2.0, 90.0], [1.0, 1.0, 1.0]) == 2.0
    assert ratio([2.0, 200.0, 20.0], [1.0, 100.0, 10.0]) == 2.0


@pytest.mark.parametrize(("opportunities", "sizes"), [(10, [10]), (401, [200, 200, 1]), (400, [200, 200])])
def test_the_account_is_read_by_its_cursors_to_the_end(opportunities: int, sizes: list[int]) -> None:
    with Account(opportunities, open_numbers=[0, 3]) as account:
        query: dict[str, Any] = {}
        pages: list[dict[str, Any]] = []
        while not pages or pages[-1]["has_more"]:
            pages.append(requests.get(f"{account.url}/v1/opportunities", params=query, timeout=30).json())
            query["cursor"] = pages[-1]["cursor"]
        won = account.uuids[3]
        account.win(won)
        single = requests.get(f"{account.url}/v1/opportunities/{won}", timeout=30).json()
        usage = account.usage()
    entries = [entry for page in pages for entry in page["entries"]]
    assert [len(page["entries"]) for page in pages] == sizes
    assert [entry["uuid"] for entry in entries] == account.uuids
    assert [entry["forecast_category"] for entry in entries[:5]] == ["pipeline", "lost", "lost", "pipeline", "lost"]
    assert single["forecast_category"] == "won"
    assert (usage.by_status.total(), usage.refused) == (len(sizes) + 1, 0)


def test_the_account_refuses_the_41st_request_of_a_second() -> None:
    now = 0.0
    data = _Data(1, None, limited=True, clock=lambda: now)
    statuses = [data.respond("/v1/opportunities")[0] for _ in range(41)]
    assert statuses == [200] * 40 + [429]
    now = 1.0
    assert data.respond("/v1/opportunities")[0] == 200
    assert data.usage().most_in_a_second == 40


def test_the_short_table_has_the_rows_of_each_report() -> None:
    reports = [
        Report(title="", body="", remarks="", readme=[Row("import", "8 ms", "160 ms (HTTP)", "0.05")]),
        Report(title="", body="", remarks=""),
        Report(title="", body="", remarks="", readme=[Row("export", "1 s", "2 s", "0.5")]),
    ]
    assert short_table(reports).splitlines()[-2:] == [
        "| import | 8 ms | 160 ms (HTTP) | 0.05 |",
        "| export | 1 s | 2 s | 0.5 |",
    ]


def test_the_readme_has_a_place_for_the_short_table(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text((REPOSITORY / "README.md").read_text())
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    write_block(readme, BEGIN, END, "the table")
    assert readme.read_text() == f"{before}{BEGIN}\nthe table\n{END}{after}"


@pytest.mark.parametrize("text", ["", "a b b", "b a", "a a b"])
def test_a_readme_without_one_place_for_a_block_is_left_alone(text: str, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match="needs these two lines"):
        write_block(readme, "a", "b", "x")
    assert readme.read_text() == text

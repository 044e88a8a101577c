"""Is every line of the seed documents kept in the inventory, and every promise of the inventory by a test?"""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from tests.seeds import seeds
from tests.seeds.seeds import BOILERPLATE, INVENTORY, SEEDS, Item

# How many methods, parameters and sentences each document has; one that is lost from the inventory is seen without it.
# A name that stands in several places counts in each.
COUNTS = {
    "000": {"method": 9, "parameter": 25, "sentence": 5},
    "001": {"method": 10, "parameter": 27, "sentence": 0},
    "002": {"method": 8, "parameter": 20, "sentence": 29},
    "003": {"method": 1, "parameter": 16, "sentence": 22},
    "004": {"method": 28, "parameter": 117, "sentence": 149},
}


def promises(seed: str) -> list[Item]:
    """What has to be tested."""
    return [item for item in seeds.inventory()[seed] if item.kind != BOILERPLATE]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_from_the_inventory(seed: str) -> None:
    found = Counter(item.kind for item in promises(seed))
    assert {kind: found[kind] for kind in ("method", "parameter", "sentence")} == COUNTS[seed]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_inventory_is_what_the_document_says(seed: str) -> None:
    kept = seeds.inventory()[seed]
    path = seeds.document(seed)
    # Where the documents are not at hand there is the inventory alone; what it lost is seen above.
    said = kept if path is None else seeds.read(seed, path.read_text("utf-8"))
    assert said == kept
    assert len({(item.line, item.part, item.kind, item.name) for item in kept}) == len(kept) > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_has_a_row(seed: str) -> None:
    covered = {place for keys, _, _ in seeds.rows(seed) for place in seeds.covers(keys)}
    missing = [
        f"{item.key} {item.kind} {item.name}" for item in promises(seed) if (item.line, item.part) not in covered
    ]
    assert missing == [], f"lines of seed {seed} without a row in tests/seeds/README.md"


@pytest.mark.parametrize("seed", SEEDS)
def test_every_row_is_about_something(seed: str) -> None:
    places = {(item.line, item.part) for item in promises(seed)}
    rows = list(seeds.rows(seed))
    assert rows, f"no table for seed {seed} in tests/seeds/README.md"
    assert [keys for keys, _, _ in rows if not seeds.covers(keys) & places] == []
    assert [keys for keys, promise, tests in rows if not promise or not tests] == []


@pytest.mark.parametrize("seed", SEEDS)
def test_every_test_that_a_row_names_is_there(seed: str) -> None:
    named = {test for _, _, tests in seeds.rows(seed) for test in tests}
    assert named, f"no tests for seed {seed} in tests/seeds/README.md"
    assert sorted(test for test in named if not exists(test)) == []


def exists(test: str) -> bool:
    """Whether there is a test function `FOLDER/FILE.py::NAME` below tests/."""
    file, _, name = test.partition("::")
    path = seeds.HERE.parent / file
    if not path.is_file() or not name.startswith("test_"):
        return False
    body = ast.parse(path.read_text("utf-8")).body
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name for node in body)


def test_a_test_that_is_not_there_is_seen() -> None:
    here = "seeds/test_frame.py::"
    assert exists(f"{here}test_a_test_that_is_not_there_is_seen")
    assert not exists(f"{here}test_of_nothing")
    assert not exists(f"{here}exists")
    assert not exists("seeds/test_nowhere.py::test_a_test_that_is_not_there_is_seen")


def test_how_rows_name_lines() -> None:
    assert seeds.covers("7, 9-11, 55.2, 57.3-4") == {(7, 0), (9, 0), (10, 0), (11, 0), (55, 2), (57, 3), (57, 4)}


def test_how_a_paragraph_is_divided() -> None:
    lines = [(3, "One thing. Another,"), (4, "longer one (see there). A third?"), (5, "Yes.")]
    found = seeds.sentences(lines)
    assert [item.key for item in found] == ["3.1", "3.2", "4", "5"]
    assert found[1].name == seeds.digest("Another,\n  longer one (see there).")


def test_a_line_that_no_reader_knows_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match=r"\[2\]"):
        seeds.whole(["a", "b", ""], [Item(1, 0, "sentence", "x")], set())


def test_the_inventory_holds_no_sentence() -> None:
    assert max(map(len, INVENTORY.read_text("utf-8").splitlines())) < 120
    texts = [
        item for seed in SEEDS for item in seeds.inventory()[seed] if item.kind in {"sentence", "example", BOILERPLATE}
    ]
    assert {len(item.name) for item in texts} == {16}

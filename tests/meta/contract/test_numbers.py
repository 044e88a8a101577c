"""Do the tables of proto/README.md say what the protos declare, and keep what they do not declare yet?"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

import pytest

from tests.meta.contract import descriptors as d

ROW = re.compile(r"^\| `(?P<name>[A-Za-z.]+)`(?: \([^|]*\))? \| (?P<entries>.*) \|$")
ENTRY = re.compile(r"^(?P<kept>\*?)(?P<number>\d+) (?P<name>[A-Za-z_0-9]+)(?P=kept)$")


@dataclass(slots=True)
class Row:
    """What the tables say of one message or enum: number to name."""

    declared: dict[int, str] = field(default_factory=dict[int, str])
    kept: dict[int, str] = field(default_factory=dict[int, str])


@functools.cache
def table() -> dict[str, Row]:
    """Every row of the section Numbers; rows of one name are parts of it."""
    _, _, section = (d.ROOT / "proto/README.md").read_text().partition("\n## Numbers\n")
    rows: dict[str, Row] = {}
    for line in section.splitlines():
        found = ROW.match(line)
        if found is None:
            continue
        row = rows.setdefault(found["name"], Row())
        for text in found["entries"].split(" · "):
            entry = ENTRY.match(text)
            assert entry is not None, f"{found['name']}: cannot read {text!r}"
            number = int(entry["number"])
            assert number not in {**row.declared, **row.kept}, f"{found['name']}: {number} twice"
            (row.kept if entry["kept"] else row.declared)[number] = entry["name"]
    assert len(rows) > 50
    return rows


def declared() -> dict[str, dict[int, str]]:
    """What the protos declare: number to name, by message and enum. The zero of an enum is left out."""
    found = {m.short: {field.number: field.name for field in m.proto.field} for m in d.messages()}
    return found | {e.short: {value.number: value.name for value in e.values if value.number} for e in d.enums()}


@pytest.mark.parametrize("name", sorted(declared()))
def test_the_table_says_what_is_declared(name: str) -> None:
    assert name in table(), f"proto/README.md has no row for {name}"
    assert table()[name].declared == declared()[name]


def test_the_table_declares_nothing_that_the_protos_do_not() -> None:
    spare = {name: row.declared for name, row in table().items() if name not in declared() and row.declared}
    assert spare == {}


@pytest.mark.parametrize("name", sorted(table()))
def test_a_kept_number_or_name_is_not_declared_otherwise(name: str) -> None:
    row, found = table()[name], declared().get(name, {})
    assert set(row.kept) & set(found) == set()
    assert set(row.kept.values()) & set(found.values()) == set()
    assert len(set(row.kept.values())) == len(row.kept)


def test_what_is_kept_follows_the_rules_of_the_page() -> None:
    fixed = {"page_size": 2, "page_token": 3, "next_page_token": 2, "filter": 4, "etag": 2, "update_mask": 2}
    requests = {name: {**row.declared, **row.kept} for name, row in table().items() if name.endswith("Request")}
    requests |= {name: row.kept for name, row in table().items() if name.endswith("Response")}
    # A watch of a collection keeps 2 to 4 for what the watch of one task has.
    requests.pop("WatchBatchTasksRequest")
    wrong = [
        f"{name}.{entry} = {number}"
        for name, numbers in requests.items()
        for number, entry in numbers.items()
        if fixed.get(entry, number) != number
    ]
    assert wrong == []


def test_reserved_numbers_are_not_kept() -> None:
    for message in d.messages():
        taken = {number for span in message.proto.reserved_range for number in range(span.start, span.end)}
        row = table()[message.short]
        assert taken & {*row.kept, *row.declared} == set()

"""Does the server do what the contract says, whatever is asked, and whatever happens, in whatever order?"""

from __future__ import annotations

import ast
import pathlib
from typing import ClassVar

import pytest

from tests.property.events import Event
from tests.property.machine import Machine, RealMachine
from tests.property.model import FOLLOWS
from tests.property.play import STEPS, play
from tests.property.world import World

FOLDER = pathlib.Path(__file__).parent
MODEL = ("events.py", "life.py", "masks.py", "model.py", "parts.py", "refusals.py")
OFTEN = {
    ("QUEUED", "RUNNING", ""),
    ("RUNNING", "SUCCEEDED", ""),
    ("RUNNING", "CANCELLING", "CANCEL"),
    ("CANCELLING", "CANCELLED", "CANCEL"),
    ("CANCELLED", "QUEUED", ""),
}


@pytest.mark.parametrize("number", range(4))
def test_the_server_does_what_the_model_says(tmp_path: pathlib.Path, number: int) -> None:
    played = play(Machine, tmp_path, 40, number)
    assert played.rules["sequences"] >= 40
    assert played.rules["steps"] >= 40 * STEPS * 0.9
    assert set(played.transitions) >= OFTEN
    assert {("RUNNING", "PAUSING", ""), ("RUNNING", "PAUSED", "")} & set(played.transitions)


class NotingWorld(World):
    """Keeps what happened at its workers."""

    notes: ClassVar[list[Event]] = []

    def events(self) -> list[Event]:
        found = super().events()
        self.notes.extend(found)
        return found


class NotingMachine(Machine):
    world_kind = NotingWorld


def test_a_number_is_played_the_same_way_again(tmp_path: pathlib.Path) -> None:
    """Else hypothesis cannot shrink what it finds."""
    found: list[list[Event]] = []
    for name in ("first", "second"):
        NotingWorld.notes.clear()
        play(NotingMachine, tmp_path / name, 25, 23)
        found.append(NotingWorld.notes.copy())
    assert len(found[0]) > 500
    assert found[0] == found[1]


@pytest.mark.timeout(300)
def test_so_does_one_with_a_channel_and_processes(tmp_path: pathlib.Path) -> None:
    played = play(RealMachine, tmp_path, 4, 1, shrink=False)
    assert played.rules["steps"] >= 4 * STEPS * 0.9


def imported(name: str) -> set[str]:
    """The modules that a module of this folder imports, by their full names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((FOLDER / name).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "tests.property"
                else {str(node.module)}
            )
    return found


def test_the_model_shares_nothing_with_the_server() -> None:
    others = {"__future__", "collections.abc", "dataclasses", "typing"}
    assert all(imported(name) <= {f"tests.property.{each[:-3]}" for each in MODEL} | others for name in MODEL)


def test_the_model_says_something_of_every_verb_in_every_state() -> None:
    states = {"DRAFT", "QUEUED", "RUNNING", "PAUSING", "PAUSED", "CANCELLING", "final"}
    verbs = {"append", "start", "pause", "resume", "cancel", "delete"}
    assert set(FOLLOWS) == {(verb, state) for verb in verbs for state in states}
    assert set(FOLLOWS.values()) <= states | {"=", "-", "done", "CANCELLED"}

"""Does the server do what the contract says, whatever is asked in whatever order?"""

from __future__ import annotations

import os
import pathlib

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.machine import Machine, RealMachine
from tests.property.world import make_template

STEPS = 50
QUICK = int(os.environ.get("Q", "40"))


def play(folder: pathlib.Path, sequences: int, number: int, kind=Machine) -> None:
    kind.folder = folder
    kind.template = make_template(folder / "template")
    run_state_machine_as_test(
        seed(number)(kind),
        settings=settings(
            max_examples=sequences,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink) if os.environ.get("SH") else (Phase.generate,),
            report_multiple_bugs=False,
        ),
    )


@pytest.mark.parametrize("number", range(2))
def test_model(tmp_path: pathlib.Path, number: int) -> None:
    play(tmp_path, QUICK, number)
    print(Machine.counts)


def test_real(tmp_path: pathlib.Path) -> None:
    play(tmp_path, 4, 1, RealMachine)
    print(Machine.counts)

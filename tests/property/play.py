"""Many sequences, and what they came to."""

from __future__ import annotations

import pathlib

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.server import make_template
from tests.property.verbs import Played, Verbs

STEPS = 50
"""Of a sequence, on average: hypothesis ends some of them early."""
MOST_STEPS = 64


def play(kind: type[Verbs], folder: pathlib.Path, sequences: int, number: int, *, shrink: bool = True) -> Played:
    """Play so many sequences, the same ones for the same number. Raises Violation, with the smallest that is found."""
    kind.folder, kind.template, kind.played = folder, make_template(folder / "template"), Played()
    run_state_machine_as_test(
        seed(number)(kind),
        settings=settings(
            max_examples=sequences,
            stateful_step_count=MOST_STEPS,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        ),
    )
    return kind.played

"""Which outcomes are seen in a generation? Its own, and of those since its base what succeeded there.

    completion numbers   0 ········· first(2) ········· first(3) ········· next_sequence
    generation           1           2                  3

What failed or has no outcome in one generation is run again in the next, so no index is seen twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from batchyard_server.model.record import EVERY_GENERATION
from batchyard_server.model.task import Task
from batchyard_server.store.sqlite import operations, outcomes
from batchyard_server.store.sqlite.outcomes import Found
from batchyard_server.store.sqlite.readers import Reader


class Span(NamedTuple):
    """A generation and its completion numbers, [first, end). Of an `inherited` one only the successes are seen."""

    generation: int
    first: int
    end: int
    inherited: bool = False


def seen_in(reader: Reader, task: Task, generation: int) -> list[Span]:
    """What is seen in a generation of the task, or in EVERY_GENERATION, ascending; the last one is that itself.

    Earlier ones without outcomes are left out.
    """
    if task.generation == 1:
        return [Span(1, 0, task.next_sequence)]
    begins = [(1, 0), *operations.generations(reader, task.key)]
    ends = [first for _, first in begins[1:]] + [task.next_sequence]
    every = generation == EVERY_GENERATION
    last = task.generation if every else generation
    base = 1 if every else begins[last - 1][0]
    spans = [
        Span(number, begins[number - 1][1], ends[number - 1], inherited=number < last and not every)
        for number in range(base, last + 1)
    ]
    return [span for span in spans[:-1] if span.first < span.end] + spans[-1:]


def between(reader: Reader, task_key: int, spans: Sequence[Span], start: int, end: int) -> list[Found]:
    """The segments that may hold indexes of [start, end) which are seen, by lo."""
    found = [
        segment
        for span in spans
        for segment in outcomes.between(reader, task_key, span.generation, start, end, inherited=span.inherited)
    ]
    if len(spans) > 1:
        found.sort(key=lambda each: each.lo)
    return found

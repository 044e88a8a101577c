"""What was read and has not changed since? Answers the same question again without a statement.

    read ─▶ remembered ─▶ asked again: answered from memory ─▶ a commit touches its task: forgotten

A statement of some microseconds costs many times that on a busy event loop: each one gives the interpreter away and has
to win it back. Used on the event loop, where events come before the answers of the calls that caused them; so whoever
was told of a change never reads what was before it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from batchyard_server.store.protocols import TaskEvent

T = TypeVar("T")
ANY_TASK = 0  # no task has this key: what depends on more than one

_MOST_BYTES = 8 * 1024 * 1024
_ENTRY_BYTES = 1024  # what it costs to remember something, beside its bytes


class Recall:
    """Remembers a few megabytes, the latest used of them longest."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._known: OrderedDict[Hashable, tuple[object, int, int]] = OrderedDict()
        self._of_task: dict[int, set[Hashable]] = {}
        self._bytes = 0
        self._most = most_bytes

    def get(self, question: Hashable, read: Callable[[], T], depends: Callable[[T], tuple[int, int]]) -> T:
        """What `read` returned when it was asked last, if that still holds.

        Args:
            question: what tells it apart from all else that is asked.
            read: reads it, at once.
            depends: of what was read, the key of the only task that it depends on, or ANY_TASK; and its bytes, about.
        """
        known = self._known.get(question)
        if known is not None:
            self._known.move_to_end(question)
            return known[0]  # pyright: ignore[reportReturnType] - what was put under this question
        found = read()
        self.learn(question, found, *depends(found))
        return found

    def learn(self, question: Hashable, answer: object, task_key: int, size: int) -> None:
        """Know the answer without having asked; the rest is as of `get`."""
        self.forget(question)
        size += _ENTRY_BYTES
        self._known[question] = (answer, task_key, size)
        self._of_task.setdefault(task_key, set()).add(question)
        self._bytes += size
        while self._bytes > self._most:
            self.forget(next(iter(self._known)))

    def forget(self, question: Hashable) -> None:
        """Read it again when it is asked again."""
        known = self._known.pop(question, None)
        if known is not None:
            _, task_key, size = known
            self._bytes -= size
            questions = self._of_task[task_key]
            questions.discard(question)
            if not questions:
                del self._of_task[task_key]

    def on_events(self, events: Sequence[TaskEvent]) -> None:
        """Forget what these commits may have changed."""
        if self._known:
            for task_key in {ANY_TASK, *(event.task.key for event in events)}:
                for question in tuple(self._of_task.get(task_key, ())):
                    self.forget(question)

    def clear(self) -> None:
        """Forget everything."""
        for question in tuple(self._known):
            self.forget(question)

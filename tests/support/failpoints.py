"""Failpoints that a test arms while the server runs."""

from __future__ import annotations

from batchyard_server.model.failpoints import Failpoints, Injected


class SwitchedFailpoints(Failpoints):
    """`armed[point] = kind` makes the point raise that kind of error at every hit, until it is taken out again."""

    def __init__(self) -> None:
        super().__init__()
        self.armed: dict[str, str] = {}
        self.hits: dict[str, int] = {}

    def hit(self, name: str) -> None:
        """See Failpoints.hit."""
        self.hits[name] = self.hits.get(name, 0) + 1
        if name in self.armed:
            raise Injected(name, self.armed[name])

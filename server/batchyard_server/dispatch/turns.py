"""Whose turn is it? Between projects who has had least, inside a project by priority, among equals in round robin.

handler ─▶ projects that have records of it, by virtual time ─▶ each one's line ─▶ queues
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from batchyard_server.dispatch.gates import Gates
from batchyard_server.dispatch.protocols import Claim
from batchyard_server.dispatch.queue import Ready, TaskQueue
from batchyard_server.dispatch.shares import Order, Share, Shares

SOON_NS = 1_000_000_000  # a handler whose next token comes within this keeps its workers


class Turn(NamedTuple):
    """Who is next of one handler.

    Attributes:
        queues: the last one may get any slot, if `claim` waits and it is not being cut. Those before it come first, but
            only certain slots may get more of them, or they are being cut.
        place: turns with a smaller one come first.
    """

    handler: str
    queues: list[TaskQueue]
    claim: Claim
    place: tuple[tuple[float, int, int], int]


class Turns:
    """The queues of all projects that have pending records. A cut costs log n of the projects that have some."""

    def __init__(self, shares: Shares, gates: Gates) -> None:
        self._shares = shares
        self._gates = gates
        self._ready: dict[str, Ready] = {}  # by project
        self._orders: dict[str, Order] = {}  # by handler
        self._listed: dict[str, set[str]] = {}  # handlers in whose order it is, by project

    def __bool__(self) -> bool:
        return bool(self._ready)

    def add(self, queue: TaskQueue) -> None:
        """Put a queue in its line, see Ready.add."""
        project = queue.task.project
        ready = self._ready.get(project)
        if ready is None:
            ready = self._ready[project] = Ready()
            self._listed[project] = set()
        ready.add(queue)
        self._list(project, ready)

    def remove(self, queue: TaskQueue) -> None:
        """Take a queue out of its line, if it is in one."""
        ready = self._ready.get(queue.task.project)
        if ready is not None:
            ready.remove(queue)
            self._list(queue.task.project, ready)

    def rotate(self, queue: TaskQueue) -> None:
        """It is served, see Ready.rotate."""
        self._ready[queue.task.project].rotate(queue)

    def is_crowded(self, queue: TaskQueue, slots: int) -> bool:
        """Whether more queues wait for the slots than there are: those of its project, and other projects."""
        handler = queue.task.handler
        return self._ready[queue.task.project].handlers[handler] + len(self._orders[handler]) - 1 > slots

    def look(self, can_start: Callable[[str], bool]) -> tuple[list[Turn], dict[str, Claim]]:
        """Whose turn it is, handler by handler, and what the handlers want.

        Of a handler that has too few tokens it is nobody's turn until there are more. If that is soon it keeps its
        claim, but waits for nothing.

        Args:
            can_start: Whether a worker of a handler may be started.
        """
        shut = {handler for handler in self._orders if self._gates.is_shut(handler)}

        def may_grow(handler: str) -> bool:
            return handler not in shut and self._gates.of(handler).within is None and can_start(handler)

        offers: dict[str, dict[str, list[TaskQueue]]] = {}
        turns: list[Turn] = []
        claims: dict[str, Claim] = {}
        for handler in list(self._orders):
            order = self._orders.get(handler)
            if order is None:
                continue  # it was found just now that its queues have nothing to give
            if handler in shut:
                if self._gates.await_tokens(handler) < SOON_NS:
                    first = next(iter(order))
                    claims[handler] = Claim(False, first.project, first.virtual_ns, soon=True)
            elif (turn := self._turn(handler, may_grow, offers)) is not None:
                turns.append(turn)
                claims[handler] = turn.claim
        turns.sort(key=lambda turn: turn.place)
        return turns, claims

    def _turn(
        self, handler: str, may_grow: Callable[[str], bool], offers: dict[str, dict[str, list[TaskQueue]]]
    ) -> Turn | None:
        """Who is next of a handler. `offers`: of the projects that were looked at already.

        If it is the turn of one that is being cut, the others wait for that moment.
        """
        queues: list[TaskQueue] = []
        leader: Share | None = None
        waits = False
        for share in self._orders[handler]:
            found = self._offers(share.project, may_grow, offers)
            mine = found.get(handler, ())
            if mine:
                queues += mine
                leader = share
                waits = any(queue.within is None for queue in mine)
                if waits:
                    break
        if leader is None:
            return None
        claim = Claim(waits and self._gates.of(handler).within is None, leader.project, leader.virtual_ns)
        return Turn(handler, queues, claim, (leader.key, list(offers[leader.project]).index(handler)))

    def _offers(
        self, project: str, may_grow: Callable[[str], bool], offers: dict[str, dict[str, list[TaskQueue]]]
    ) -> dict[str, list[TaskQueue]]:
        found = offers.get(project)
        if found is None:
            ready = self._ready[project]
            found = offers[project] = ready.offers(may_grow)
            self._list(project, ready)
        return found

    def _list(self, project: str, ready: Ready) -> None:
        """Keep the project in the orders of the handlers of which it has queues."""
        listed = self._listed[project]
        if listed == ready.handlers.keys():
            return
        share = self._shares.of(project)
        for handler in ready.handlers.keys() - listed:
            self._shares.enter(share, self._orders.setdefault(handler, Order()))
        for handler in listed - ready.handlers.keys():
            order = self._orders[handler]
            self._shares.leave(share, order)
            if not order:
                del self._orders[handler]
        self._listed[project] = set(ready.handlers)
        if not ready:
            del self._ready[project], self._listed[project]

"""Tickets of subtasks that no Chooser has cut."""

from __future__ import annotations

from batchyard_server.dispatch.gates import Gate
from batchyard_server.dispatch.shares import Shares
from batchyard_server.dispatch.tickets import Ticket


def make_ticket(count: int) -> Ticket:
    """One for so many records of project p at slot w, without limits; how long they take is not known."""
    shares = Shares(lambda _: 1.0)
    return Ticket(shares, shares.of("p"), Gate(), slot="w", count=count, ns=None)

"""Virtual time: is worker time shared by weight, whoever comes and goes, and what is forgotten?"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from batchyard_server.dispatch.gates import Gate
from batchyard_server.dispatch.shares import CREDIT_NS, KEPT_SHARES, Order, Share, Shares
from batchyard_server.dispatch.sizing import TARGET_NS
from batchyard_server.dispatch.tickets import Ticket

SECOND = 1_000_000_000


class Line:
    """One worker, served to whoever is first."""

    def __init__(self, **weights: float) -> None:
        self.shares = Shares(lambda project: weights.get(project, 1.0))
        self.order = Order()
        self.had: Counter[str] = Counter()

    def enter(self, *projects: str) -> None:
        for project in projects:
            self.shares.enter(self.shares.of(project), self.order)

    def leave(self, project: str) -> None:
        self.shares.leave(self.shares.of(project), self.order)

    def first(self) -> str:
        return next(iter(self.order)).project

    def serve(self, ns: int, estimate_ns: int | None = None) -> str:
        """The first one is served, and takes so long."""
        share = next(iter(self.order))
        ticket = Ticket(self.shares, share, Gate(), slot="s", count=1, ns=ns if estimate_ns is None else estimate_ns)
        ticket.ran(1, ns)
        ticket.end()
        self.had[share.project] += ns
        return share.project

    def part(self, project: str) -> float:
        return self.had[project] / sum(self.had.values())


@pytest.mark.parametrize("weight", [1.0, 2.0, 0.5, 10.0])
def test_by_weight_whatever_it_takes(weight: float) -> None:
    chance = random.Random(weight)
    line = Line(a=weight)
    line.enter("a", "b")
    for _ in range(2000):
        long = line.first() == "a"
        line.serve(SECOND if long else SECOND // 100, chance.choice((None, SECOND // 10, 3 * SECOND)))
    assert line.part("a") == pytest.approx(weight / (weight + 1), abs=0.01)


def test_equal_ones_take_turns_and_who_comes_is_next() -> None:
    line = Line()
    line.enter("a", "b", "c")
    assert [line.serve(SECOND) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]
    assert line.serve(SECOND) == "a"
    line.enter("d")
    assert [line.serve(SECOND) for _ in range(4)] == ["d", "b", "c", "a"]


def test_who_comes_late_gets_no_more_than_the_others() -> None:
    line = Line()
    line.enter("a")
    for _ in range(100):
        line.serve(SECOND)
    line.enter("b")
    assert line.serve(SECOND) == "b"
    line.had.clear()
    for _ in range(20):
        line.serve(SECOND)
    assert line.part("b") == pytest.approx(0.5, abs=0.05)


def test_who_leaves_keeps_what_it_had_too_much() -> None:
    line = Line()
    line.enter("a", "b")
    assert line.serve(10 * SECOND) == "a"
    line.leave("a")
    line.enter("a")
    for _ in range(10):
        assert line.serve(SECOND) == "b"
    assert line.serve(SECOND) == "a"


def test_a_refund_and_a_surcharge_move_it() -> None:
    line = Line()
    line.enter("a", "b")
    share = line.shares.of("a")
    ticket = Ticket(line.shares, share, Gate(), slot="s", count=2, ns=SECOND)
    assert line.first() == "b"
    assert share.virtual_ns == SECOND
    ticket.runs(SECOND // 2)
    assert share.virtual_ns == SECOND
    ticket.runs(3 * SECOND)
    assert share.virtual_ns == 3 * SECOND
    ticket.ran(1, 4 * SECOND)
    ticket.runs(SECOND)
    assert share.virtual_ns == 5 * SECOND
    ticket.end()
    assert share.virtual_ns == 4 * SECOND
    assert line.first() == "b"
    unknown = Ticket(line.shares, line.shares.of("b"), Gate(), slot="s", count=1, ns=None)
    assert line.shares.of("b").virtual_ns == TARGET_NS
    unknown.end()
    assert line.shares.of("b").virtual_ns == 0


def test_a_lost_worker_is_charged_for_the_record_that_ran() -> None:
    line = Line()
    line.enter("a")
    ticket = Ticket(line.shares, line.shares.of("a"), Gate(), slot="s", count=5, ns=10)
    ticket.ran(2, 20)
    ticket.lose(3, SECOND)
    ticket.end()
    assert (ticket.finished, line.shares.of("a").virtual_ns) == (3, SECOND + 20)


def test_the_credit_of_who_could_not_be_served_is_small() -> None:
    line = Line()
    line.enter("a", "b")
    b = line.shares.of("b")
    line.order.remove(b)  # it is passed over
    b.orders.clear()
    for _ in range(100):
        line.serve(SECOND)
    b.orders.append(line.order)
    line.order.add(b)
    line.had.clear()
    for _ in range(20):
        line.serve(SECOND)
    assert line.had["b"] - line.had["a"] == pytest.approx(CREDIT_NS, abs=2 * SECOND)


def test_nothing_is_kept_of_those_that_are_gone() -> None:
    line = Line()
    line.enter("stays")
    for number in range(50 * KEPT_SHARES):
        line.enter(f"p{number}")
        line.serve(SECOND)
        line.serve(SECOND)
        line.leave(f"p{number}")
    assert len(line.shares._shares) <= 2 * KEPT_SHARES + 2
    line.leave("stays")
    assert line.shares._shares == {}


def test_an_order_of_ten_thousand() -> None:
    shares, order = Shares(lambda _: 1.0), Order()
    for number in range(10_000):
        shares.enter(shares.of(f"p{number}"), order)
    served: list[Share] = []
    for _ in range(20_000):
        share = next(iter(order))
        served.append(share)
        shares.serve(share, SECOND)
    assert [share.project for share in served] == [f"p{number}" for number in range(10_000)] * 2
    assert len(order) == 10_000

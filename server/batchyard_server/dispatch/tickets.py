"""What is a subtask charged with? Worker time to its project, tokens to its handler; in the end what it has used."""

from __future__ import annotations

from batchyard_server.dispatch.gates import Gate
from batchyard_server.dispatch.shares import Share, Shares
from batchyard_server.dispatch.sizing import TARGET_NS


class Ticket:
    """One subtask, from its cut until its worker is done with it.

    Args:
        slot: By name, where it goes.
        count: How many records it has.
        ns: How long they will take; None = nothing is known.

    Attributes:
        gate: of its handler.
        finished: its records that have ended.
        asked_back: what has not begun of it was taken back for somebody who waits.
    """

    __slots__ = (
        "_charged_ns",
        "_count",
        "_estimate_ns",
        "_left",
        "_shares",
        "_spent_ns",
        "asked_back",
        "finished",
        "gate",
        "share",
    )

    def __init__(self, shares: Shares, share: Share, gate: Gate, *, slot: str, count: int, ns: int | None) -> None:
        self.share = share
        self.gate = gate
        self.finished = 0
        self.asked_back = False
        self._shares = shares
        self._count = count
        self._left = count  # records that have not ended and were not given back
        self._charged_ns = self._estimate_ns = TARGET_NS if ns is None else ns
        self._spent_ns = 0
        shares.use(share)
        shares.serve(share, self._charged_ns)
        gate.enter(slot, count)

    def rest_ns(self, *, begun: bool) -> float:
        """How long what has not begun of it will take, as far as is known. `begun`: its first record has."""
        each_ns = max(self._estimate_ns / self._count, self._spent_ns / max(self.finished, 1))
        return max(self._left - begun, 0) * each_ns

    def ran(self, count: int, work_ns: int) -> None:
        """So many records have ended, which took so long."""
        self.finished += count
        self._spent_ns += work_ns
        self._settle(max(self._charged_ns, self._spent_ns))
        self._take_off(count, begun=True)

    def runs(self, ns: int) -> None:
        """The present record has run for so long and has not ended."""
        self._settle(max(self._charged_ns, self._spent_ns + ns))

    def give_back(self, count: int) -> None:
        """So many records will not begin."""
        self._take_off(count, begun=False)

    def lose(self, begun: int, ns: int) -> None:
        """Its worker is gone: so many of its records had begun, the last one had run for so long. `end` follows."""
        self.ran(max(min(begun - self.finished, self._left), 0), ns)

    def end(self) -> None:
        """The worker is done with it; what is left will not begin."""
        self._take_off(self._left, begun=False)
        self._settle(self._spent_ns)
        self._shares.release(self.share)

    def _settle(self, ns: int) -> None:
        before, self._charged_ns = self._charged_ns, ns
        self._shares.charge(self.share, ns - before)

    def _take_off(self, count: int, *, begun: bool) -> None:
        """Nothing more is known of what is left than that its first record has begun."""
        before, self._left = self._left, self._left - count
        bucket = self.gate.bucket
        if bucket is not None and count:
            bucket.unbegun -= max(before - 1, 0) - max(self._left - 1, 0)
            if not begun:
                bucket.level += count

"""How much of the workers has each project had? Virtual time: worker-seconds by weight (start-time fair queueing).

    cut ─▶ charged with the estimate ─▶ corrected by what it took        the smallest virtual time is served first

Who comes, or comes back, starts where the others are: idle time is no credit. Who has work that cannot be served (its
handler waits for a slot, or is limited) keeps a credit, but a small one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

CREDIT_NS = 4_000_000_000  # of worker time, that a project may be behind the one that was served last
KEPT_SHARES = 64  # of projects without work, before it is looked which of them may be forgotten

Key = tuple[float, int, int]


class Share:
    """What one project has had.

    Attributes:
        key: (virtual time in ns, when it was served last, when it came): the smallest is the next.
        uses: why it counts as active: orders that it is in, and subtasks that are charged to it.
    """

    __slots__ = ("key", "orders", "project", "uses", "weight")

    def __init__(self, project: str, weight: float, key: Key) -> None:
        self.project = project
        self.weight = weight
        self.key = key
        self.orders: list[Order] = []
        self.uses = 0

    @property
    def virtual_ns(self) -> float:
        """Worker time by its weight. Only differences mean something."""
        return self.key[0]


class Order:
    """Shares, the next one first. To enter, to leave and to move costs log n."""

    __slots__ = ("_keys", "_shares")

    def __init__(self) -> None:
        self._keys: list[Key] = []
        self._shares: dict[Key, Share] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Share]:
        """From the first on; the one that was yielded last may leave meanwhile."""
        at = 0
        while at < len(self._keys):
            share = self._shares[self._keys[at]]
            yield share
            if at < len(self._keys) and self._keys[at] == share.key:
                at += 1

    def add(self, share: Share) -> None:
        """Put it in its place."""
        insort(self._keys, share.key)
        self._shares[share.key] = share

    def remove(self, share: Share) -> None:
        """Take it out; its key is the one with which it came."""
        del self._keys[bisect_left(self._keys, share.key)]
        del self._shares[share.key]


class Shares:
    """Those of all projects that have work, and of those that had more than the others and may come back.

    Args:
        weight_of: what a project's worker time is divided by, more than 0; asked when it comes.
    """

    def __init__(self, weight_of: Callable[[str], float]) -> None:
        self._weight_of = weight_of
        self._shares: dict[str, Share] = {}
        self._active = 0
        self._now_ns = 0.0  # virtual time of the one that was served last
        self._servings = 0
        self._comings = 0
        self._tidy_at = KEPT_SHARES

    def of(self, project: str) -> Share:
        """The share of a project; made if there is none."""
        share = self._shares.get(project)
        if share is None:
            self._comings += 1
            key = (self._now_ns, 0, self._comings)
            share = self._shares[project] = Share(project, self._weight_of(project), key)
        return share

    def enter(self, share: Share, order: Order) -> None:
        """The project has work of this order now."""
        first = next(iter(order), None)
        self.use(share, self._now_ns if first is None else min(self._now_ns, first.virtual_ns))
        order.add(share)
        share.orders.append(order)

    def leave(self, share: Share, order: Order) -> None:
        """It has none any more."""
        order.remove(share)
        share.orders.remove(order)
        self.release(share)

    def use(self, share: Share, start_ns: float = 0.0) -> None:
        """Count it as active until `release`; if it was not, it is at `start_ns` at least."""
        if not share.uses:
            self._active += 1
            self._move(share, max(share.virtual_ns, start_ns), share.key[1])
        share.uses += 1

    def release(self, share: Share) -> None:
        """The end of one `use`."""
        share.uses -= 1
        if share.uses:
            return
        self._active -= 1
        if not self._active:
            self._shares.clear()  # nobody is there to compare with
            self._now_ns = 0.0
        elif share.virtual_ns <= self._now_ns:
            del self._shares[share.project]
        elif len(self._shares) - self._active > self._tidy_at:
            self._shares = {
                project: each for project, each in self._shares.items() if each.uses or each.virtual_ns > self._now_ns
            }
            self._tidy_at = max(2 * (len(self._shares) - self._active), KEPT_SHARES)

    def serve(self, share: Share, ns: float) -> None:
        """It is served and charged with so much worker time."""
        self._now_ns = max(share.virtual_ns, self._now_ns - CREDIT_NS)
        self._servings += 1
        self._move(share, self._now_ns + ns / share.weight, self._servings)

    def charge(self, share: Share, ns: float) -> None:
        """It took so much more, or less, than it was charged with."""
        if ns:
            self._move(share, share.virtual_ns + ns / share.weight, share.key[1])

    def _move(self, share: Share, virtual_ns: float, turn: int) -> None:
        for order in share.orders:
            order.remove(share)
        share.key = (virtual_ns, turn, share.key[2])
        for order in share.orders:
            order.add(share)

"""A TCP proxy that cuts connections: after a number of bytes in either direction, or now."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Budget:
    """How many bytes one connection may carry towards the target and back before it is reset. None: any number."""

    up: int | None = None
    down: int | None = None


def random_budgets(chance: random.Random, *, up: int, down: int) -> Iterator[Budget]:
    """Budgets without end, up to `up` and `down` bytes: who has n times as much to send is cut n times or oftener."""
    while True:
        yield Budget(up=chance.randint(1, up), down=chance.randint(1, down))


class CutProxy:
    """Forwards to one target and resets connections in the middle of whatever they carry.

    Args:
        target: `host:port` to forward to.
        budgets: what each next connection may carry; after the last one connections live.

    Attributes:
        cuts: how many connections were reset because a budget was spent, by direction: `up`, `down`.
    """

    def __init__(self, target: str, budgets: Iterable[Budget] = ()) -> None:
        self.retarget(target)
        self._budgets = iter(budgets)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = {"up": 0, "down": 0}
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> CutProxy:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def retarget(self, target: str) -> None:
        """Forward the next connections to this target."""
        host, _, port = target.rpartition(":")
        self._to = (host, int(port))

    def cut(self) -> None:
        """Reset every connection now."""
        with self._lock:
            sockets, self._open = self._open, set()
        for one in sockets:
            _reset(one)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._to)
            except OSError:
                _reset(near)
                continue
            budget = next(self._budgets, Budget())
            with self._lock:
                self._open |= {near, far}

            def kill(near: socket.socket = near, far: socket.socket = far) -> None:
                with self._lock:
                    self._open -= {near, far}
                _reset(near)
                _reset(far)

            ways = (("up", near, far, budget.up), ("down", far, near, budget.down))
            for way, source, sink, allowed in ways:
                threading.Thread(target=self._pump, args=(way, source, sink, allowed, kill), daemon=True).start()

    def _pump(
        self, way: str, source: socket.socket, sink: socket.socket, budget: int | None, kill: Callable[[], None]
    ) -> None:
        try:
            while data := source.recv(_CHUNK):
                if budget is not None:
                    data, budget = data[:budget], budget - len(data)
                sink.sendall(data)
                if budget is not None and budget <= 0:
                    with self._lock:
                        self.cuts[way] += 1
                    break
        except OSError:
            pass
        kill()


def _reset(one: socket.socket) -> None:
    """Close with RST: the peer sees a broken connection, not an orderly end."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RDWR)
    one.close()

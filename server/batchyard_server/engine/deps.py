"""What does a verb need? One frozen bundle, made by app.py."""

from __future__ import annotations

from dataclasses import dataclass

from batchyard_server.artifacts import ArtifactFiles
from batchyard_server.codec.tokens import Tokens
from batchyard_server.engine.live import Handlers, Live
from batchyard_server.model.clock import Clock, Randomness
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.store.protocols import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """Everything that verbs are handed. `tokens` signs with the store's secret; `files` has the bytes of artifacts."""

    store: Store
    clock: Clock
    randomness: Randomness
    live: Live
    handlers: Handlers
    failpoints: Failpoints
    tokens: Tokens
    files: ArtifactFiles

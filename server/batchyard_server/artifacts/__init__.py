"""The bytes of artifacts: collected where handlers wrote them, read from there, removed."""

from __future__ import annotations

from batchyard_server.artifacts.local import LocalArtifacts
from batchyard_server.artifacts.protocols import ArtifactFiles, Collection, Damaged, Reading

__all__ = ["ArtifactFiles", "Collection", "Damaged", "LocalArtifacts", "Reading"]

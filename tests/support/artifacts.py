"""What tests need of artifacts: files of any kind, and a place for tests in which there are none."""

from __future__ import annotations

from typing import cast

from batchyard_server.artifacts import ArtifactFiles

NO_FILES = cast(ArtifactFiles, object())  # whoever asks it for something fails

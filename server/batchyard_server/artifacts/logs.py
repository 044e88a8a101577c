"""Where is a long log? In a file of its own, in a stage that no handler knows of."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence

import google_crc32c

from batchyard_server.artifacts import folders
from batchyard_server.model.artifact import LOG_PATH, RESERVED, Content, NewArtifact, Stage

CONTENT_TYPE = "text/plain; charset=utf-8"
_NAME = LOG_PATH.removeprefix(f"{RESERVED}/")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def keep(root: bytes, stage: Stage, texts: Sequence[tuple[int, bytes]]) -> list[NewArtifact]:
    """See ArtifactFiles.keep_logs. `root`: path of the folder that has those of the tasks. Raises OSError."""
    with folders.opened(root) as top, _made(top, str(stage.folder)) as above:
        with _made(above, stage.name) as base:
            for index, text in texts:
                with _made(base, str(index)) as record:
                    with _made(record, RESERVED) as here:
                        _write(here, text)
                        os.fsync(here)
                    os.fsync(record)
            os.fsync(base)
        os.fsync(above)
        os.fsync(top)
    return [NewArtifact(index=index, stage=stage.name, content=content_of(text)) for index, text in texts]


def content_of(text: bytes) -> Content:
    """What is known of a log."""
    return Content(
        path=LOG_PATH,
        size=len(text),
        crc32c=google_crc32c.value(text),
        sha256=hashlib.sha256(text).digest(),
        content_type=CONTENT_TYPE,
    )


def _made(base: int, name: str) -> contextlib.AbstractContextManager[int]:
    """The folder `name` of an open folder, made if it is not there."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, mode=0o700, dir_fd=base)
    return folders.opened(base, name)


def _write(folder: int, text: bytes) -> None:
    file = os.open(_NAME, _NEW, mode=0o600, dir_fd=folder)
    try:
        while text:
            text = text[os.write(file, text) :]
        os.fsync(file)
    finally:
        os.close(file)

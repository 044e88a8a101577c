"""Where the records of one subtask leave their files: a folder for each, made when it is asked for."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

_TRIES = 10  # the server may remove an empty folder above at the same moment


class Stage:
    """The folders of one subtask.

    Args:
        base: Absolute path of the folder that has them; need not exist.

    Attributes:
        used: Indexes of the records that may have left something, in the order in which they ran.
    """

    def __init__(self, base: bytes) -> None:
        self.used: list[int] = []
        self._base = os.fsdecode(base)
        self._is_made = False
        self._last = -1  # that was noted; entries of `used` are taken by another thread

    def directory(self, index: int) -> Path:
        """The folder of a record, which is there.

        Raises:
            OSError: It cannot be made.
        """
        path = self.make(index)
        self._note(index)
        return path

    def make(self, index: int) -> Path:
        """Makes the folder of a record; `settle` finds out whether something is left in it.

        Raises:
            OSError: It cannot be made.
        """
        self._is_made = True
        path = Path(self._base, str(index))
        for _ in range(_TRIES - 1):
            with contextlib.suppress(FileNotFoundError):
                path.mkdir(0o700, parents=True, exist_ok=True)
                return path
        path.mkdir(0o700, parents=True, exist_ok=True)
        return path

    def settle(self, index: int) -> None:
        """The record has ended: removes its folder if that is empty."""
        try:
            Path(self._base, str(index)).rmdir()
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            self._note(index)

    def close(self) -> None:
        """The subtask has ended: removes its folder if that is empty."""
        if self._is_made:
            with contextlib.suppress(OSError):
                Path(self._base).rmdir()

    def _note(self, index: int) -> None:
        if self._last != index:
            self._last = index
            self.used.append(index)

"""What has a worker's handler written that it has not handed over? The server's end of the captured output."""

from __future__ import annotations

import fcntl
import os

from batchyard_server.model import limits
from batchyard_worker import capture

TRIM_BYTES = 4 * limits.MIB  # a record may write so much beyond what is kept before the middle is given back


class LogFile:
    """An anonymous memory file behind the standard streams of one worker. See `capture`."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("batchyard-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, capture.REGION)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self._trimmed = 0  # up to here the running record's text was given back

    def read(self, start: int) -> bytes:
        """What was written from `start` on; of more than limits.LOG its head and tail."""
        return capture.read(self.fd, start, limits.LOG.maximum)

    def trim(self, start: int) -> bool:
        """Give back the middle of a text that begins at `start` and has become very long; whether it had.

        The worker may end the record at this moment: then the next one's text can lose something, if that is as long
        already as what is kept of a text's head.
        """
        end = os.lseek(self.fd, 0, os.SEEK_CUR)
        if end < self._trimmed:
            self._trimmed = 0
        kept = limits.LOG.maximum // 2
        low, high = max(start + kept, self._trimmed), end - kept
        if high - low < TRIM_BYTES:
            return False
        capture.free(self.fd, low, high)
        self._trimmed = high
        return True

    def close(self) -> None:
        """Give the memory back, once the worker is gone."""
        os.close(self.fd)

"""What a handler writes to its standard streams, record by record.

    descriptors 1 and 2, also of child processes ─▶ one memory file with one offset, which all who write share
    a record has ended and its first byte is not 0 ─▶ take: what lies between its beginning and the offset

The server holds the file, too: what the last record of a worker wrote is there after its death, whatever ended it. The
file is sealed so that nobody can make it shorter under the worker's map: who opens `/dev/stderr` to write it anew, as
`> /dev/stderr` of a shell does, is refused (`>&2` and `>> /dev/stderr` work).
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import sys

REGION = 1 << 20
"""Bytes of the file that the worker maps. The offset goes back to 0 once a text ends behind half of them."""
DEFAULT_MAX_LOG_BYTES = 256 * 1024
_IDLE_BYTES = 4 << 20
_GAP = b"\n[... %d bytes are missing here ...]\n"
_GAP_BYTES = 64
_CONTINUES = range(0x80, 0xC0)  # bytes of UTF-8 that begin no character


def half(most: int) -> int:
    """How much of a text's head, and of its tail, is kept where it has more than `most` bytes."""
    return max((most - _GAP_BYTES) // 2, 0)


def cut(text: bytes, most: int) -> bytes:
    """The text, or its head and its tail and between them a line that says how many bytes are missing.

    Args:
        text: UTF-8, as a rule.
        most: Bytes of the result; at least 64.
    """
    kept = half(most)
    return text if len(text) <= most else _join(text[:kept], text[-kept:] if kept else b"", len(text) - 2 * kept)


def read(fd: int, start: int, most: int) -> bytes:
    """What was written to the file from `start` to the offset; of more than `most` bytes see `cut`."""
    size = os.lseek(fd, 0, os.SEEK_CUR) - start
    if size <= most:
        return os.pread(fd, size, start) if size > 0 else b""
    kept = half(most)
    return _join(os.pread(fd, kept, start), os.pread(fd, kept, start + size - kept), size - 2 * kept)


def free(fd: int, start: int, end: int) -> None:
    """Gives back the memory of whole pages of the file; they read as zeros from now on."""
    low = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    high = end // mmap.PAGESIZE * mmap.PAGESIZE
    if low < high:
        with contextlib.suppress(OSError, ValueError), mmap.mmap(fd, high - low, offset=low) as pages:
            pages.madvise(mmap.MADV_REMOVE)


def _join(head: bytes, tail: bytes, missing: int) -> bytes:
    """The two parts without the characters that were cut in two."""
    whole = head
    for size in range(1, min(len(head), 4) + 1):
        if head[-size] not in _CONTINUES:  # the last character begins here
            if head[-size] >= 0xC0 and size < _length(head[-size]):
                whole = head[:-size]
            break
    start = 0
    while start < min(len(tail), 3) and tail[start] in _CONTINUES:
        start += 1
    return whole + _GAP % (missing + len(head) - len(whole) + start) + tail[start:]


def _length(first: int) -> int:
    """Bytes of the UTF-8 character that begins so."""
    return 2 if first < 0xE0 else 3 if first < 0xF0 else 4


class Capture:
    """The worker's side: stands behind the standard streams of the process from now on.

    Args:
        fd: The memory file, at least REGION bytes long, its offset at 0; it is this object's own.

    Attributes:
        memory: The file's first REGION bytes.
        at: Where the text of the present record begins; ``memory[at]`` is 0 as long as it has none, or one that begins
            with NUL.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._most = DEFAULT_MAX_LOG_BYTES
        self._size = os.fstat(fd).st_size
        pages = mmap.mmap(fd, REGION)
        pages.madvise(mmap.MADV_DONTFORK)  # as the cell: see main
        self.memory = memoryview(pages)
        self.at = 0
        os.set_inheritable(fd, False)
        for target in (1, 2):
            os.dup2(fd, target)
        sys.stdout = sys.__stdout__ = _stream(1)  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = _stream(2)  # type: ignore[misc]

    def limit(self, most: int) -> None:
        """Sets the most bytes of one record's text; 0 = the default."""
        self._most = most or DEFAULT_MAX_LOG_BYTES

    def look(self) -> bool:
        """Whether there is anything: also what begins with NUL, or was appended to the file's end."""
        return os.lseek(self._fd, 0, os.SEEK_CUR) != self.at or os.fstat(self._fd).st_size > self._size

    def take(self) -> bytes:
        """What was written since it was taken last, if anything; `at` is where the next text begins."""
        fd, start = self._fd, self.at
        end = os.lseek(fd, 0, os.SEEK_CUR)
        if start <= end <= REGION and end - start <= self._most:
            text = bytes(self.memory[start:end])
        else:
            text = read(fd, start, self._most)
        size = os.fstat(fd).st_size
        if size > self._size:
            appended = max(self._size, end)
            if size > appended:
                text = cut(text + os.pread(fd, min(size - appended, self._most), appended), self._most)
            self._size = size
        self.at = end
        if end > REGION // 2:
            text = cut(text + self._rewind(end), self._most)
        return text

    def shrink(self) -> None:
        """Gives back the middle of very much that was written while no record runs. For another thread than `take`."""
        start, end = self.at, os.lseek(self._fd, 0, os.SEEK_CUR)
        if end - start > _IDLE_BYTES:
            free(self._fd, start + self._most, end - self._most)

    def _rewind(self, end: int) -> bytes:
        """Starts again at 0; what somebody who does not belong to the record has written meanwhile."""
        free(self._fd, 0, min(end, self._size))
        low = end // mmap.PAGESIZE * mmap.PAGESIZE
        if end <= REGION:
            self.memory[low:end] = bytes(end - low)
        late = read(self._fd, end, self._most)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self.at = 0
        return late


def _stream(fd: int) -> io.TextIOWrapper:
    """Text to a descriptor, each write at once: nothing is left in a buffer when a record ends or its worker dies."""
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)

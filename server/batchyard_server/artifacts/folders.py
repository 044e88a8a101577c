"""How is a folder opened, or removed, that a handler may have filled with anything? Never through a link."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Collection, Generator, Iterable
from itertools import count, islice

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_AT_ONCE = 256  # entries that are looked at before the next look at the clock
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)

IsOver = Callable[[], bool]


@contextlib.contextmanager
def opened(base: int | bytes, *segments: str) -> Generator[int]:
    """The folder that is reached from `base` (open, or a path) by these names, none of them a link. Raises OSError."""
    here = os.open(base, _OPEN_FOLDER) if isinstance(base, bytes) else os.dup(base)
    try:
        for segment in segments:
            below = os.open(segment, _OPEN_FOLDER, dir_fd=here)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def open_file(folder: int, name: str) -> int:
    """A regular file of a folder, open for reading; the caller closes it. Raises OSError, also for all that is none.

    What could have an effect when it is opened is not opened.
    """
    before = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(before.st_mode):
        raise OSError(errno.EINVAL, kind_of(before.st_mode))
    file = os.open(name, _OPEN_FILE, dir_fd=folder)
    if not os.path.samestat(before, os.fstat(file)):
        os.close(file)
        raise OSError(errno.EINVAL, "was exchanged while it was opened")
    return file


def kind_of(mode: int) -> str:
    """What is not a regular file, in words."""
    kinds = {
        stat.S_ISLNK: "is a symbolic link",
        stat.S_ISFIFO: "is a FIFO",
        stat.S_ISSOCK: "is a socket",
        stat.S_ISDIR: "is a folder",
    }
    return next((words for test, words in kinds.items() if test(mode)), "is a device")


def names(folder: int, most: int | None) -> list[str]:
    """What is in a folder, in any order; at most so many."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, most)]


def keep_only(base: int, name: str, kept: Collection[str], is_over: IsOver) -> bool:
    """Remove what is in the folder `name` of `base` but for the files with these paths; False if time was over before.

    Without any the folder itself goes too. What is gone already is no error.
    """
    if not kept:
        return remove(base, name, is_over)
    parents = {path[:at] for path in kept for at, character in enumerate(path) if character == "/"}
    known = parents.union(kept)
    most = len(known) + _AT_ONCE
    for parent in ("", *sorted(parents)):
        prefix = f"{parent}/" if parent else ""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), opened(base, name, *_split(parent)) as here:
            while rest := [each for each in names(here, most) if prefix + each not in known]:
                for each in rest:
                    if not remove(here, each, is_over):
                        return False
                if is_over():
                    return False
    return True


def remove(base: int, name: str, is_over: IsOver) -> bool:
    """Remove `name` of the folder `base`, whatever it is, with all that is in it; False if time was over before.

    What is found deeper is moved up first, so any depth needs two open folders.
    """
    if _remove_at_once(base, name):
        return True
    numbers = count()
    with _opened_for_removal(base, name) as here:
        while found := names(here, _AT_ONCE):
            for entry in found:
                if not _remove_at_once(here, entry):
                    with _opened_for_removal(here, entry) as below:
                        _empty(below, here, numbers)
            if is_over():
                return False
    return _remove_at_once(base, name)


def _empty(below: int, here: int, numbers: Iterable[int]) -> None:
    """Remove some of what is in the folder `below`; what cannot be removed at once is moved into `here`."""
    numbers = iter(numbers)
    for entry in names(below, _AT_ONCE):
        while not _remove_at_once(below, entry):
            try:
                os.chmod(entry, stat.S_IRWXU, dir_fd=below)  # a folder that may not be written to cannot be moved
                os.rename(entry, f"~{next(numbers)}", src_dir_fd=below, dst_dir_fd=here)
            except OSError as error:
                if error.errno not in (*_NOT_EMPTY, errno.ENOTDIR):  # the name is taken
                    raise


def _remove_at_once(base: int, name: str) -> bool:
    """Remove a file or an empty folder; False if it is a folder with something in it."""
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=base, follow_symlinks=False).st_mode):
            os.rmdir(name, dir_fd=base)
        else:
            os.unlink(name, dir_fd=base)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in _NOT_EMPTY:
            raise
        return False
    return True


@contextlib.contextmanager
def _opened_for_removal(base: int, name: str) -> Generator[int]:
    """A folder from which something is to be removed, whatever its permissions are."""
    try:
        here = os.open(name, _OPEN_FOLDER, dir_fd=base)
    except PermissionError:
        os.chmod(name, stat.S_IRWXU, dir_fd=base)
        here = os.open(name, _OPEN_FOLDER, dir_fd=base)
    try:
        os.fchmod(here, stat.S_IRWXU)
        yield here
    finally:
        os.close(here)


def _split(path: str) -> list[str]:
    return path.split("/") if path else []


def remove_if_empty(base: int, name: str) -> None:
    """Remove a folder that has nothing in it."""
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=base)

"""Progress of a batch task, told to a callback or shown as a bar (rich, extra `cli`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from batchyard._artifact_info import Artifact, DownloadProgress
from batchyard.v1 import batch_task_pb2

if TYPE_CHECKING:
    from types import TracebackType

RecordCounts = batch_task_pb2.RecordCounts
# "bar", or what is called with the counts each time they were read.
Progress: TypeAlias = Callable[[RecordCounts], object] | str | None
# The same of a download.
OnDownload: TypeAlias = Callable[[DownloadProgress], object] | str | None


class Reporter:
    """Calls the callback; owns and closes the bar if "bar" was asked for.

    Raises:
        ValueError: a str other than "bar".
    """

    def __init__(self, progress: Progress) -> None:
        if isinstance(progress, str) and progress != "bar":
            raise ValueError(f'progress must be a callable, "bar" or None, not {progress!r}')
        self._own = RichProgress() if progress == "bar" else None
        self._call: Callable[[RecordCounts], object] | None = self._own or (progress if callable(progress) else None)

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return self._call is not None

    def __call__(self, counts: RecordCounts) -> None:
        if self._call is not None:
            self._call(counts)

    def close(self) -> None:
        """Take the bar down, if it is ours."""
        if self._own is not None:
            self._own.close()


class RichProgress:
    """A progress bar on stderr: records ended of all, failures, rate, time left.

    Called with the counts; usable as context manager, so that one bar can show the sending and the running.

    Raises:
        ImportError: rich is not installed (extra `cli`).
    """

    def __init__(self, description: str = "records", *, console: Any = None) -> None:
        try:
            from rich import progress
            from rich.console import Console
        except ImportError as error:
            raise ImportError("the progress bar needs rich: install batchyard[cli]") from error
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("[red]{task.fields[failed]} failed[/]"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=console or Console(stderr=True),
        )
        self._task = self._bar.add_task(description, total=None, failed=0)
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, counts: RecordCounts) -> None:
        """Show these counts."""
        if not self._started:
            self._bar.start()
            self._started = True
        ended = counts.succeeded + counts.failed + counts.cancelled
        self._bar.update(self._task, total=counts.total or None, completed=ended, failed=counts.failed)

    def close(self) -> None:
        """Leave the last state of the bar on the screen. May be repeated."""
        if self._started:
            self._bar.stop()
            self._started = False


def rich_progress(description: str = "records", *, console: Any = None) -> RichProgress:
    """Return a progress bar for the `progress` argument of `run` and `wait`.

    Raises:
        ImportError: rich is not installed (extra `cli`).
    """
    return RichProgress(description, console=console)


class DownloadReporter:
    """Calls the callback of a download; owns and closes the bar if "bar" was asked for.

    Raises:
        ValueError: a str other than "bar".
        ImportError: a bar, and rich is not installed (extra `cli`).
    """

    def __init__(self, progress: OnDownload) -> None:
        if isinstance(progress, str) and progress != "bar":
            raise ValueError(f'progress must be a callable, "bar" or None, not {progress!r}')
        self._bar = _DownloadBar() if progress == "bar" else None
        self._call: Callable[[DownloadProgress], object] | None = self._bar or (
            progress if callable(progress) else None
        )
        self._files = 0
        self._before = 0  # bytes of those

    def received(self, artifact: Artifact, received: int) -> None:
        """So many bytes of this artifact have come."""
        if self._call is not None:
            self._call(DownloadProgress(artifact, received, self._files, self._before + received))

    def finished(self, artifact: Artifact) -> None:
        """It is written."""
        self._files += 1
        self._before += artifact.size

    def close(self) -> None:
        """Take the bar down, if it is ours."""
        if self._bar is not None:
            self._bar.close()


class _DownloadBar:
    """A bar on stderr: the artifact at hand, how many were written before, bytes and rate of all."""

    def __init__(self) -> None:
        try:
            from rich import progress
            from rich.console import Console
        except ImportError as error:
            raise ImportError("the progress bar needs rich: install batchyard[cli]") from error
        self._bar = progress.Progress(
            progress.TextColumn("{task.fields[files]} files"),
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TextColumn("{task.fields[total_received]:,} bytes in all"),
            console=Console(stderr=True),
        )
        self._bar.start()
        self._task: Any = self._bar.add_task("", total=None, files=0, total_received=0)

    def __call__(self, now: DownloadProgress) -> None:
        self._bar.update(
            self._task,
            description=f"{now.artifact.index}/{now.artifact.path}",
            total=now.artifact.size,
            completed=now.received,
            files=now.files,
            total_received=now.total_received,
        )

    def close(self) -> None:
        """Leave the last state of the bar on the screen."""
        self._bar.stop()

"""What the figures were measured on, and whether a folder lies on a disk."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.bench.harness import RowError

# File systems that keep nothing through a restart: a commit there costs no disk.
IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
PACKAGES = ("grpcio", "protobuf", "apsw", "uvloop", "orjson", "zstandard", "celery", "huey", "redis", "hiredis")


def file_system(path: Path) -> tuple[str, str]:
    """Type and mounted device of the file system that holds `path`, from the kernel's own table."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with Path("/proc/self/mountinfo").open(encoding="utf-8") as table:
        for line in table:
            fields = line.split()
            if fields[2] == wanted:
                after = fields[fields.index("-") + 1 :]
                return after[0], after[1]
    return "unknown", "unknown"


def require_disk(path: Path) -> str:
    """Type of the file system that holds `path`.

    Raises:
        RowError: It is kept in memory, so no figure of a durable write would count.
    """
    kind, device = file_system(path)
    if kind in IN_MEMORY:
        raise RowError(f"the work folder lies on {kind}: choose a folder on a disk with --dir")
    return f"{kind} on {Path(device).name}"


def disk_folder(wanted: str | None) -> Path:
    """An empty folder for this run, on a disk: in `wanted`, else where temporary files go, else in `/var/tmp`.

    Raises:
        RowError: None of them is on a disk.
    """
    places = [wanted] if wanted else [tempfile.gettempdir(), "/var/tmp"]
    for place in places:
        Path(place).mkdir(parents=True, exist_ok=True)
        if file_system(Path(place))[0] not in IN_MEMORY:
            return Path(tempfile.mkdtemp(prefix="batchyard-bench-", dir=place))
    raise RowError(f"none of {', '.join(places)} is on a disk: choose a folder with --dir")


def describe(workdir: Path) -> dict[str, str]:
    """Machine, system and versions, in words for the table's head."""
    facts = {
        "cpu": f"{os.cpu_count()} × {_cpu_model()}",
        "memory": f"{_memory_gib():.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "disk": require_disk(workdir),
        "python": platform.python_version(),
        "sqlite": _sqlite_version(),
        "load before": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }
    facts["packages"] = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    facts["redis-server"] = _redis_version()
    return facts


def _cpu_model() -> str:
    with Path("/proc/cpuinfo").open(encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _sqlite_version() -> str:
    try:
        import apsw
    except ImportError:
        return "absent"
    return apsw.sqlite_lib_version()


def _redis_version() -> str:
    program = shutil.which("redis-server")
    if program is None:
        return "absent"
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return next((word[2:] for word in text.split() if word.startswith("v=")), "unknown")

"""Starts a worker, as ``python -m batchyard_worker`` or ``python …/batchyard_worker/__main__.py``.

The second form is what the server uses for a handler's own interpreter: it makes this package importable without
putting the folder around it, perhaps the site-packages of another Python, on the path.
"""

from __future__ import annotations

import importlib.util
import pathlib
import sys


def _find_package() -> None:
    """Takes the script's folder or the current one off the path and makes `batchyard_worker` importable from here."""
    folder = __file__.rpartition("/")[0]
    if sys.path[0] in (folder, str(pathlib.Path.cwd()), ""):
        del sys.path[0]
    if "batchyard_worker" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "batchyard_worker", folder + "/__init__.py", submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["batchyard_worker"] = package
    spec.loader.exec_module(package)


def _say_unusable(text: str) -> None:
    """Sends FromWorker{loaded{error}} without protobuf, which is what is missing."""
    import socket
    import struct

    def field(data: bytes) -> bytes:
        size, head = len(data), bytearray(b"\x0a")
        while size > 127:
            head.append(size & 127 | 128)
            size >>= 7
        head.append(size)
        return bytes(head) + data

    data = field(field(text.encode("utf-8", "backslashreplace")))
    sock = socket.socket(fileno=int(sys.argv[sys.argv.index("--socket-fd") + 1]))
    sock.sendall(struct.pack(">I", len(data)) + data)
    while sock.recv(65536):
        pass


def _start() -> None:
    _find_package()
    try:
        from batchyard_worker.main import main
    except Exception as error:  # noqa: BLE001 - an import may fail in any way
        _say_unusable(f"{sys.executable} cannot run a worker (it needs protobuf >= 6.31): {error}")
        raise SystemExit(1) from None
    main()


if __name__ == "__main__":
    _start()
elif __name__ == "__mp_main__":  # a process that a handler started by multiprocessing
    _find_package()

"""Generate the committed Python code from the protos, or check that it is current.

    python proto/generate.py            write the generated files
    python proto/generate.py --check    compare a fresh copy with what is committed; exit 1 if they differ

The three packages land where their import names say: `batchyard.v1` in the client, `batchyard_worker.v1` in the worker,
`batchyard_server.codec.v1` in the server. `google.*` is never generated: its wheel is used.
"""

from __future__ import annotations

import argparse
import filecmp
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
# Proto package folder -> (import root that the generated code lies under, whether it has a service).
PACKAGES = {
    "batchyard/v1": ("client/python", True),
    "batchyard_worker/v1": ("server", False),
    "batchyard_server/codec/v1": ("server", False),
}


def common_protos() -> pathlib.Path:
    """Folder that holds `google/api` and `google/rpc` of the googleapis-common-protos wheel."""
    import google.api

    return pathlib.Path(next(iter(google.api.__path__))).parent.parent


def well_known_protos() -> pathlib.Path:
    """Folder that holds `google/protobuf` of grpcio-tools."""
    import grpc_tools

    return pathlib.Path(next(iter(grpc_tools.__path__))) / "_proto"


def generate(out: pathlib.Path) -> list[pathlib.Path]:
    """Run protoc for every package below `out`; return the files written, relative to it."""
    from grpc_tools import protoc

    for package, (import_root, has_service) in PACKAGES.items():
        target = out / import_root
        (target / package).mkdir(parents=True, exist_ok=True)
        args = ["protoc", f"-I{PROTO}", f"-I{common_protos()}", f"-I{well_known_protos()}"]
        args += [f"--python_out={target}", f"--pyi_out={target}"]
        args += [f"--grpc_python_out={target}"] if has_service else []
        args += [str(path) for path in sorted((PROTO / package).glob("*.proto"))]
        if protoc.main(args) != 0:
            sys.exit(f"protoc failed for {package}")
        for stub in (target / package).glob("*_pb2_grpc.py"):
            if "def __init__(self, channel)" not in stub.read_text():
                stub.unlink()  # a file without a service of its own
    return sorted(path.relative_to(out) for path in out.rglob("*_pb2*.py*"))


def check() -> int:
    """Return 0 if the committed files are what the protos give, else print the difference and return 1."""
    with tempfile.TemporaryDirectory() as name:
        fresh = pathlib.Path(name)
        files = generate(fresh)
        wrong = [f for f in files if not (ROOT / f).exists() or not filecmp.cmp(fresh / f, ROOT / f, shallow=False)]
        known = set(files)
        for package, (import_root, _) in PACKAGES.items():
            for path in (ROOT / import_root / package).glob("*_pb2*.py*"):
                if path.relative_to(ROOT) not in known:
                    wrong.append(path.relative_to(ROOT))
    for path in wrong:
        print(f"not current: {path}")
    if wrong:
        print("run: make gen")
    return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    if parser.parse_args().check:
        return check()
    generate(ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Generate what is made from the protos, or check that it is current.

    python proto/generate.py                          write the committed Python code and the copy of the service config
    python proto/generate.py --check                  compare a fresh copy with what is committed; exit 1 if they differ
    python proto/generate.py --stage DIR              lay the google protos that ours import below DIR, for other tools
    python proto/generate.py --descriptor-set FILE    write one set of all our descriptors, with imports and comments

The three packages land where their import names say: `batchyard.v1` in the client, `batchyard_worker.v1` in the worker,
`batchyard_server.codec.v1` in the server. Python for `google.*` is never generated: the wheel's is used.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib
import pathlib
import shutil
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
# Beside the stubs, so that it is found there in a wheel and in a checkout alike.
SERVICE_CONFIG = "batchyard_v1_grpc_service_config.json"
SERVICE_CONFIG_COPY = pathlib.Path("client/python/batchyard/v1") / SERVICE_CONFIG
# What our protos import of the google packages, directly or not.
STAGED = ("google/api", "google/rpc")


def package_root(module: str) -> pathlib.Path:
    """Folder of an installed package, also of a namespace package."""
    return pathlib.Path(next(iter(importlib.import_module(module).__path__)))


def common_protos() -> pathlib.Path:
    """Folder that holds `google/api` and `google/rpc` of the googleapis-common-protos wheel."""
    return package_root("google.api").parent.parent


def well_known_protos() -> pathlib.Path:
    """Folder that holds `google/protobuf` of grpcio-tools."""
    return package_root("grpc_tools") / "_proto"


def protoc(files: list[pathlib.Path], *options: str) -> None:
    """Run protoc on our files; exit if it fails. Its version is that of grpcio-tools, which the lock fixes."""
    from grpc_tools import protoc as tool

    args = ["protoc", f"-I{PROTO}", f"-I{common_protos()}", f"-I{well_known_protos()}", *options]
    if tool.main([*args, *map(str, files)]) != 0:
        sys.exit("protoc failed")


def sources(package: str) -> list[pathlib.Path]:
    """The proto files of one package, in a fixed order."""
    return sorted((PROTO / package).glob("*.proto"))


def generate(out: pathlib.Path) -> list[pathlib.Path]:
    """Write every generated file below `out`; return them, relative to it."""
    for package, (import_root, has_service) in PACKAGES.items():
        target = out / import_root
        (target / package).mkdir(parents=True, exist_ok=True)
        options = [f"--python_out={target}", f"--pyi_out={target}"]
        options += [f"--grpc_python_out={target}"] if has_service else []
        protoc(sources(package), *options)
        for stub in (target / package).glob("*_pb2_grpc.py"):
            if "def __init__(self, channel)" not in stub.read_text():
                stub.unlink()  # a file without a service of its own
    shutil.copyfile(PROTO / SERVICE_CONFIG, out / SERVICE_CONFIG_COPY)
    found = [*out.rglob("*_pb2*.py*"), out / SERVICE_CONFIG_COPY]
    return sorted(path.relative_to(out) for path in found if "__pycache__" not in path.parts)


def check() -> int:
    """Return 0 if the committed files are what the protos give, else print which are not and return 1."""
    with tempfile.TemporaryDirectory() as name:
        fresh = pathlib.Path(name)
        files = generate(fresh)
        wrong = [f for f in files if not (ROOT / f).exists() or not filecmp.cmp(fresh / f, ROOT / f, shallow=False)]
        for package, (import_root, _) in PACKAGES.items():
            there = (path.relative_to(ROOT) for path in (ROOT / import_root / package).glob("*_pb2*.py*"))
            wrong.extend(path for path in there if path not in files)
    for path in wrong:
        print(f"not current: {path}")
    if wrong:
        print("run: make gen")
    return 1 if wrong else 0


def stage(out: pathlib.Path) -> None:
    """Lay `google/api`, `google/rpc` of the wheel and our `google/longrunning/operations.proto` below `out`.

    Tools that do not run in Python (buf, protoc of other languages) need them as files under their real names; the
    wheel has the last one under another name. `google/protobuf` is left out: every protoc brings its own.
    """
    for package in STAGED:
        target = out / package
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for path in sorted((common_protos() / package).glob("*.proto")):
            shutil.copyfile(path, target / path.name)
    target = out / "google/longrunning"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROTO / "google/longrunning/operations.proto", target / "operations.proto")


def main() -> int:
    """Do what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true", help="compare only")
    group.add_argument("--stage", type=pathlib.Path, metavar="DIR", help="lay out the google protos")
    group.add_argument("--descriptor-set", type=pathlib.Path, metavar="FILE", help="write all descriptors")
    args = parser.parse_args()
    if args.check:
        return check()
    if args.stage is not None:
        stage(args.stage)
    elif args.descriptor_set is not None:
        files = [path for package in PACKAGES for path in sources(package)]
        protoc(files, f"--descriptor_set_out={args.descriptor_set}", "--include_imports", "--include_source_info")
    else:
        generate(ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())

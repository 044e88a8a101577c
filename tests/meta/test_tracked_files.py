"""Does anything that is committed belong to one machine, one registry or nobody?"""

from __future__ import annotations

import re

import pytest

from tests.meta import sources

# Put together here, so that this file does not hold what it looks for.
HOSTS = [
    name + "." + end
    for name, end in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("crates", "io"),
        ("proxy.golang", "org"),
        ("sum.golang", "org"),
        ("maven", "org"),
        ("repo.maven.apache", "org"),
        ("deb.debian", "org"),
        ("buf.build/gen/archive", "zip"),
    ]
]
PATHS = ["/" + name + "/" for name in ("work", "root", "home", "Users", "mnt", "farm")]
# Text that may name a home or a scratch folder as an example of a caller's own path.
MAX_BYTES = 512 * 1024


def lines(pattern: re.Pattern[str]) -> list[str]:
    """Every line of a tracked text file that the pattern is found in."""
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name in sources.tracked()
        for number, line in enumerate(sources.text(name).splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_registry_is_named() -> None:
    assert lines(re.compile("|".join(map(re.escape, HOSTS)))) == []


def test_no_path_of_a_machine_is_named() -> None:
    assert lines(re.compile(r"(?<![\w.}*-])(" + "|".join(PATHS) + r")\w")) == []


@pytest.mark.parametrize(("name", "least"), [("requirements.lock", 50), ("client/gapic/requirements.lock", 20)])
def test_a_lock_has_hashes_and_no_index(name: str, least: int) -> None:
    lock = sources.text(name)
    assert re.findall(r"^(?:-|--).*", lock, re.MULTILINE) == [], "no option lines: index, find-links, editable"
    packages = re.findall(r"^[a-z0-9.-]+==.*(?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+", lock, re.MULTILINE)
    assert len(packages) == len(re.findall(r"^[a-z]", lock, re.MULTILINE)) > least


def test_lock_files_of_other_languages_hold_no_address() -> None:
    locks = [name for name in sources.tracked() if name.rpartition("/")[2] in ("package-lock.json", "uv.lock")]
    assert "uv.lock" not in locks, "what Python needs is locked by files named requirements.lock"
    assert [name for name in locks if '"resolved"' in sources.text(name)] == []


def test_no_large_and_no_private_file() -> None:
    sizes = {name: (sources.ROOT / name).stat().st_size for name in sources.tracked()}
    assert {name: size for name, size in sizes.items() if size > MAX_BYTES} == {}
    private = re.compile(r"\.(pem|key|p12|sqlite|db|pyc|so)$|(^|/)\.env$")
    assert [name for name in sizes if private.search(name)] == []


def test_nothing_is_left_for_later() -> None:
    marks = "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"])
    found = lines(re.compile(rf"\b({marks})\b"))
    assert [line for line in found if not line.startswith(("requirements.lock", "LICENSE"))] == []

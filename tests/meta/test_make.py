"""Do the commands that people and CI are told to type exist?"""

from __future__ import annotations

import re
import subprocess

from tests.meta import sources

MAKEFILE = sources.text("Makefile")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
DOCUMENTED = set(re.findall(r"^([a-z][a-z-]*):.*## ", MAKEFILE, re.MULTILINE))
PROMISED = [
    "help",
    "dev",
    "run",
    "serve",
    "test",
    "test-long",
    "check",
    "gen",
    "gen-check",
    "lint",
    "types",
    "lint-proto",
    "stubs",
    "bench",
    "ci-long",
]
LONG = dict(re.findall(r"([a-z]+):(\d+)", MAKEFILE.partition("\nLONG := ")[2].partition("\n\n")[0]))


def test_the_promised_targets_are_there_and_explained() -> None:
    assert set(PROMISED) <= DOCUMENTED
    assert {f"long-{name}" for name in LONG} == TARGETS - DOCUMENTED


def commands(text: str) -> set[str]:
    """Targets of every `make …` in backticks, and of every line that is such a command."""
    targets = r"[a-z][a-z-]*(?: [a-z][a-z-]*)*"
    found = re.findall(rf"`make ({targets})", text)
    found += re.findall(rf"(?:^ *\$? ?|run: )make ({targets}) *(?:#.*)?$", text, re.MULTILINE)
    return {word for command in found for word in command.split()}


def test_make_commands_in_texts_exist() -> None:
    names = sources.written(".md", ".py", ".sh", ".toml", ".yaml")
    unknown = {name: spare for name in names if (spare := commands(sources.text(name)) - TARGETS)}
    assert unknown == {}


def test_make_commands_in_texts_are_seen() -> None:
    text = "Run `make gen` and\n    make dev test\n$ make run  # the demo\nmakes no sense, or: make nothing of it"
    assert commands(text) == {"gen", "dev", "test", "run"}


def test_make_help_lists_every_explained_target() -> None:
    output = subprocess.run(["make", "help"], cwd=sources.ROOT, check=True, capture_output=True, text=True).stdout
    assert {line.split()[0] for line in output.splitlines() if line.startswith("  ")} == DOCUMENTED


def test_every_long_part_has_a_target_and_all_fit_into_an_hour() -> None:
    assert LONG
    assert {f"long-{name}" for name in LONG} <= TARGETS
    assert sum(map(int, LONG.values())) < 3600


def test_check_contains_what_ci_wants() -> None:
    [needs] = re.findall(r"^check: (.*?) ##", MAKEFILE, re.MULTILINE)
    assert set(needs.split()) == {"lint", "types", "gen-check", "lint-proto", "test"}
    script = sources.text(".ci/run")
    assert re.search(r"make check\b", script)
    assert re.search(r"make ci-long\b", script)

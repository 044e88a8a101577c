"""Are arguments filled from the record, and from nothing but what may be part of one?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard_worker.errors import Failure
from batchyard_worker.templates import Template


@pytest.mark.parametrize(
    ("template", "argument"),
    [
        ("plain", b"plain"),
        ("{path}", b"/a b"),
        ("--in={path}:{n}", b"--in=/a b:3"),
        ("{{path}}", b"{path}"),
        ("{{{path}}}", b"{/a b}"),
        ("{f}{yes}{no}", b"0.5truefalse"),
        ("{odd name!}", b"odd"),
        ("{empty}", b""),
        ("{neg}x", b"-5x"),
        ("", b""),
        ("{umlaut}", "ä".encode()),
        ("{big}", b"123456789012345678901234567890"),
        ("{braces}", b"{path}"),
        ("$HOME `x` ; *", b"$HOME `x` ; *"),
    ],
)
def test_filling(template: str, argument: bytes) -> None:
    members = {"path": "/a b", "n": 3, "f": 0.5, "yes": True, "no": False, "odd name!": "odd", "empty": "", "neg": -5,
               "umlaut": "ä", "big": 123456789012345678901234567890, "braces": "{path}"}  # fmt: skip
    assert Template(template).fill(members, dash_values=True) == argument


@pytest.mark.parametrize("value", [None, {}, [], [1], "a\0b", "-x", "-", -1, -0.5, "\ud800"])
def test_values_that_cannot_be_part_of_an_argument(value: Any) -> None:
    with pytest.raises(Failure) as caught:
        Template("--x={v}").fill({"v": value}, dash_values=False)
    assert (caught.value.code, caught.value.reason) == (3, "INVALID_PLACEHOLDER")


def test_a_missing_member() -> None:
    with pytest.raises(Failure, match="no member 'v'") as caught:
        Template("{v}").fill({"w": 1}, dash_values=True)
    assert caught.value.metadata == {"placeholder": "v"}


@pytest.mark.parametrize("template", ["{", "}", "a{b", "{}", "{{}", "{a{b}", "{a}}", "a\0b"])
def test_templates_that_make_no_sense(template: str) -> None:
    with pytest.raises(ValueError, match=r"single brace|NUL"):
        Template(template)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_doubled_braces_are_the_text(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert Template(doubled).fill({}, dash_values=False) == text.encode()
    assert Template(doubled).names == ()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_value_is_one_part_of_one_argument(text: str) -> None:
    assert Template("a{v}b").fill({"v": text}, dash_values=True) == b"a" + text.encode() + b"b"

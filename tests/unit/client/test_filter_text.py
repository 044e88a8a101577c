"""Does the server read a quoted text as that text, whatever is in it?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchyard import quoted
from batchyard_server.model.filter import Compare, Field, Kind, Op, Prefix
from batchyard_server.query import TASKS, parse_filter

ID = Field("id", Kind.TEXT)
texts = st.text(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]) | st.sampled_from("\\\"'*"), max_size=9
)


@given(texts)
def test_any_text(text: str) -> None:
    assert parse_filter(f"id = {quoted(text)}", TASKS, "p") == Compare(ID, Op.EQ, text)
    assert parse_filter(f"id = {quoted(text, prefix=True)}", TASKS, "p") == Prefix(ID, text)

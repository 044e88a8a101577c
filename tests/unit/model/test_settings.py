"""How long is a retry waited for, how many are there, and how many records may fail?"""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard_server.model import limits
from batchyard_server.model.errors import Code
from batchyard_server.model.settings import DAY_US, DEFAULTS, SECOND_US, UNLIMITED, Settings, parse

MANY = 1 << 40  # failures; more than a record ever has
SPREADS = st.floats(0, 1)
POLICIES = st.builds(
    Settings,
    initial_backoff_us=st.integers(0, DAY_US),
    max_backoff_us=st.integers(0, DAY_US),
    multiplier=st.floats(1, 100),
)


# -- backoff ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "spread", "seconds"),
    [(1, 1, 1), (1, 0, 0.5), (1, 0.5, 0.75), (2, 1, 2), (3, 1, 4), (9, 1, 256), (10, 1, 300), (10, 0, 150)],
)
def test_the_default_wait_doubles_up_to_five_minutes(failures: int, spread: float, seconds: float) -> None:
    assert DEFAULTS.backoff_us(failures, spread) == round(seconds * SECOND_US)


@pytest.mark.parametrize(
    ("fields", "failures", "wait_us"),
    [
        ({"initial_backoff_us": 0}, 1, 0),
        ({"initial_backoff_us": 0, "multiplier": 100.0}, 1000, 0),
        ({"max_backoff_us": 0}, 5, 0),
        ({"initial_backoff_us": 7, "multiplier": 1.0}, 1_000_000, 7),
        ({"initial_backoff_us": DAY_US, "max_backoff_us": 10}, 1, 10),
        ({"initial_backoff_us": 1, "max_backoff_us": DAY_US, "multiplier": 100.0}, 5, 100_000_000),
        ({"initial_backoff_us": 1, "max_backoff_us": DAY_US, "multiplier": 100.0}, 10**6, DAY_US),
        ({"initial_backoff_us": 1000, "max_backoff_us": DAY_US, "multiplier": 1.01}, 10**9, DAY_US),
    ],
)
def test_the_wait_follows_the_policy(fields: dict[str, float], failures: int, wait_us: int) -> None:
    assert Settings(**fields).backoff_us(failures, 1) == wait_us  # pyright: ignore[reportArgumentType]


@given(settings=POLICIES, failures=st.integers(1, MANY), spread=SPREADS)
def test_the_wait_lies_between_half_and_all_of_the_bound(settings: Settings, failures: int, spread: float) -> None:
    wait = settings.backoff_us(failures, spread)
    least, most = settings.backoff_us(failures, 0), settings.backoff_us(failures, 1)
    assert 0 <= least <= wait <= most <= settings.max_backoff_us
    assert most - 1 <= 2 * least <= most + 1
    assert wait <= settings.initial_backoff_us or failures > 1
    assert not most or settings.initial_backoff_us


@given(settings=POLICIES, failures=st.integers(1, MANY), more=st.integers(1, 1000), spread=SPREADS)
def test_no_wait_is_shorter_than_the_one_before(settings: Settings, failures: int, more: int, spread: float) -> None:
    assert settings.backoff_us(failures, spread) <= settings.backoff_us(failures + more, spread)


@given(settings=POLICIES, failures=st.integers(1, 12))
def test_the_wait_is_the_formula_of_the_contract(settings: Settings, failures: int) -> None:
    grown = settings.initial_backoff_us * Fraction(settings.multiplier) ** (failures - 1)
    wanted = min(Fraction(settings.max_backoff_us), grown)
    assert abs(settings.backoff_us(failures, 1) - wanted) <= 1 + wanted / 10**12


# -- how often --------------------------------------------------------------------------------------------------------


@given(allowed=st.integers(0, limits.MAX_RETRY_COUNT.maximum), failures=st.integers(1, MANY))
def test_n_retries_follow_n_failures(allowed: int, failures: int) -> None:
    assert Settings(max_retry_count=allowed).may_retry(failures) == (failures <= allowed)


@given(failures=st.integers(1, MANY))
def test_unlimited_retries_never_end_and_by_default_there_are_none(failures: int) -> None:
    assert Settings(max_retry_count=UNLIMITED).may_retry(failures)
    assert not DEFAULTS.may_retry(failures)


def test_the_codes_that_are_retried_by_default() -> None:
    names = {Code(number).name for number in DEFAULTS.retryable_codes}
    assert names == {"UNKNOWN", "UNAVAILABLE", "ABORTED", "INTERNAL", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}


# -- how many may fail ------------------------------------------------------------------------------------------------


@given(total=st.integers(1, limits.RECORDS.maximum), data=st.data())
def test_by_default_every_record_may_fail(total: int, data: st.DataObject) -> None:
    assert DEFAULTS.allows(data.draw(st.integers(0, total)), total)


@given(most=st.integers(0, limits.MAX_FAILED_RECORDS.maximum), failed=st.integers(0, limits.RECORDS.maximum))
def test_a_number_of_failures_is_allowed(most: int, failed: int) -> None:
    assert Settings(max_failed_records=most).allows(failed, limits.RECORDS.maximum) == (failed <= most)


@given(hundredths=st.integers(0, 100), failed=st.integers(0, 3000), total=st.integers(1, 3000))
def test_a_part_that_may_fail_is_what_people_write(hundredths: int, failed: int, total: int) -> None:
    """0.29 × 100 is less than 29 in floats; of 100 records 29 may fail all the same."""
    allowed = Settings(max_failed_ratio=float(f"{hundredths / 100:.2f}")).allows(failed, total)
    assert allowed == (failed * 100 <= hundredths * total)


def test_of_two_bounds_the_first_one_counts() -> None:
    both = Settings(max_failed_records=5, max_failed_ratio=0.1)
    assert [both.allows(failed, 20) for failed in (2, 3)] == [True, False]
    assert [both.allows(failed, 1000) for failed in (5, 6)] == [True, False]


# -- as kept in a store -----------------------------------------------------------------------------------------------


@given(settings=POLICIES, codes=st.lists(st.integers(1, 16), max_size=16), retries=st.integers(-1, 1000))
def test_settings_come_back_as_they_were_kept(settings: Settings, codes: list[int], retries: int) -> None:
    kept = Settings(
        initial_backoff_us=settings.initial_backoff_us,
        multiplier=settings.multiplier,
        retryable_codes=tuple(codes),
        max_retry_count=retries,
    )
    assert parse(kept.text()) == kept
    assert DEFAULTS.text() == ""

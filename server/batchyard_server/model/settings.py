"""What was asked for a batch task: its priority, bounds, retries? Plain values that the server acts on.

What callers see of them is in the task's `fixed` bytes; here is what follows from it, defaults filled in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import lru_cache

from batchyard_server.model.errors import Code

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
DRAFT_US = 7 * DAY_US
"""How long a DRAFT is kept after its last append."""
UNLIMITED = -1
RETRYABLE_CODES = (
    Code.UNKNOWN,
    Code.DEADLINE_EXCEEDED,
    Code.RESOURCE_EXHAUSTED,
    Code.ABORTED,
    Code.INTERNAL,
    Code.UNAVAILABLE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times are microseconds, 0 = no limit where nothing else is said.

    Attributes:
        priority: higher first.
        parallel_count: most records that run at once, 0 = all free slots.
        record_timeout_us: of one execution of a record.
        max_wall_clock_us: of a generation, from its start_time.
        retention_us: how long the task is kept after its end; 0 = not at all.
        max_retry_count: retries of a record after retryable failures; UNLIMITED.
        initial_backoff_us, max_backoff_us, multiplier: see `backoff_us`.
        retryable_codes: numbers of google.rpc.Code.
        max_failed_records: UNLIMITED or at least 0.
        max_failed_ratio: of all records, 0 to 1; 1 stops nothing early.
    """

    priority: int = 0
    parallel_count: int = 0
    record_timeout_us: int = 0
    max_wall_clock_us: int = 0
    retention_us: int = 30 * DAY_US
    max_retry_count: int = 0
    initial_backoff_us: int = SECOND_US
    max_backoff_us: int = 300 * SECOND_US
    multiplier: float = 2.0
    retryable_codes: tuple[int, ...] = RETRYABLE_CODES
    max_failed_records: int = UNLIMITED
    max_failed_ratio: float = 1.0

    def may_retry(self, failures: int) -> bool:
        """Whether a record whose n-th retryable failure of this generation was the last one may be tried again."""
        return self.max_retry_count == UNLIMITED or failures <= self.max_retry_count

    def backoff_us(self, failures: int, spread: float) -> int:
        """How long to wait after the n-th failure (n ≥ 1).

        min(max_backoff, initial_backoff × multiplier^(n − 1)), of which between half and all: `spread` is from 0 to 1.
        """
        if not self.initial_backoff_us:
            return 0
        try:
            wait = min(self.initial_backoff_us * self.multiplier ** (failures - 1), self.max_backoff_us)
        except OverflowError:  # after very many failures
            wait = self.max_backoff_us
        return int(wait * (0.5 + spread / 2))

    def allows(self, failed: int, total: int) -> bool:
        """Whether so many failed records of so many are within the failure policy."""
        if self.max_failed_records != UNLIMITED and failed > self.max_failed_records:
            return False
        return not failed or failed / total <= self.max_failed_ratio  # 29 of 100 are within 0.29, as floats too

    def text(self) -> str:
        """As kept in a store: JSON of what differs from the defaults; "" = nothing does."""
        if self is DEFAULTS:
            return ""
        changed = {each: getattr(self, each) for each in _NAMES if getattr(self, each) != getattr(DEFAULTS, each)}
        return json.dumps(changed) if changed else ""


_NAMES = [each.name for each in fields(Settings)]
DEFAULTS = Settings()


@lru_cache(maxsize=256)
def parse(text: str) -> Settings:
    """The reverse of `Settings.text`."""
    if not text:
        return DEFAULTS
    values = json.loads(text)
    if "retryable_codes" in values:
        values["retryable_codes"] = tuple(values["retryable_codes"])
    return Settings(**values)

"""The default of arguments whose absence means something (the same name as in Yandex's SDK)."""

from __future__ import annotations

from typing import Final


class Undefined:
    """Type of `UNDEFINED`."""

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = Undefined()

"""Are these the bytes that were stored? CRC-32C (Castagnoli) of what passes by."""

from __future__ import annotations

import google_crc32c


class Crc32c:
    """The checksum of what was fed to it so far."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, data: bytes) -> None:
        """These bytes come next."""
        self.value = google_crc32c.extend(self.value, data)

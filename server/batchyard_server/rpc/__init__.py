"""The wire: bytes in, engine, bytes out. One file per service; errors become statuses in interceptors/."""

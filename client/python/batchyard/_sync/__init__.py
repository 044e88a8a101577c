"""The synchronous client: every other file here is generated from its namesake in `_aio`."""

"""The wire: raw stubs against a server on a real store and a real port."""

"""Client processes of the benchmarks. Each is steered by JSON lines (see `protocol`)."""

"""Benchmarks: every figure of ours beside a baseline that is measured in the same run (`python -m tests.bench`)."""

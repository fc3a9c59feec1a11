"""Seeded data for the demo, tests and benchmarks: bindings, packets, captures, rule sets."""

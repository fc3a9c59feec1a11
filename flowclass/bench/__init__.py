"""Measurements of the classifier, for `flowclass bench` and the suites in benchmarks/."""

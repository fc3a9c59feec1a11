"""Measuring the classifier: what `flowclass bench` and the suites in benchmarks/ share."""

"""Classifying many traces, and parts of large ones, in several processes.

`jobs` divides the work and assembles the output, `parts` does one piece of it, and `pools` holds the worker processes.
"""

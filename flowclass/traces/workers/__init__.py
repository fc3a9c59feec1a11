"""Many traces, and parts of large ones, shared among processes.

`jobs` cuts the work and puts it together, `parts` does one piece of it, `pools` has the processes.
"""

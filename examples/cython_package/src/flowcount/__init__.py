"""How many packets each decision gets, counted in one call without the GIL."""

from flowcount.fast import count_reasons

__all__ = ["count_reasons"]

"""The eight fields that a packet has and a rule asks for: the one table of their names, bits and widths in Python.

`enum fc_field` of flowclass.h is the same table for C. The order is that of the bits, and also that in which the fields
stand in a key and in a rule. Nothing is imported here but typing, as the bindings file and the agents use it where
numpy isn't loaded.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["ADDRESSES", "BITS", "FIELDS", "LARGEST", "LOW_WORD", "NUMBERS", "Field"]


LOW_WORD: Final = (1 << 64) - 1
"""The lower of the two 64-bit words of an address, as a mask."""


class Field(NamedTuple):
    """One field of a packet."""

    name: str
    bit: int
    """The field's bit in a key's ``present`` and a rule's ``conditions``."""
    width: int
    """How many bits a value has; addresses of IPv4 have 32 of their 128."""
    octets: int
    """How many octets a key has for it, and a rule for either end of its range."""

    @property
    def largest(self) -> int:
        """The largest value."""
        return (1 << self.width) - 1


FIELDS: Final = (
    Field("source", 1, 128, 16),
    Field("destination", 2, 128, 16),
    Field("flow_label", 4, 20, 4),
    Field("spi", 8, 32, 4),
    Field("source_port", 16, 16, 2),
    Field("destination_port", 32, 16, 2),
    Field("traffic_class", 64, 8, 1),
    Field("protocol", 128, 8, 1),
)
"""All fields."""

BITS: Final = {field.name: field.bit for field in FIELDS}
"""The bit of each field, by name."""

LARGEST: Final = {field.name: field.largest for field in FIELDS}
"""The largest value of each field, by name."""

ADDRESSES: Final = ("source", "destination")
"""The fields that are addresses."""

NUMBERS: Final = tuple(field.name for field in FIELDS if field.name not in ADDRESSES)
"""The fields that are plain numbers."""

"""The laboratory of network namespaces, as a fixture."""

from network_kit import laboratory

__all__ = ["laboratory"]

"""Every error that flowclass raises on purpose, and the warning of damage."""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "BindingsFileError",
    "CaptureError",
    "ClassifierError",
    "ConfigurationError",
    "DamageWarning",
    "DecodeError",
    "EncodeError",
    "FlowclassError",
    "OutputError",
    "ParameterProblem",
    "StoreError",
]


class FlowclassError(ValueError):
    """The root of all errors of this package."""


class ArgumentError(FlowclassError, TypeError):
    """An argument of a wrong type: its name, what was expected, what was given."""

    def __init__(self, name: str, expected: str, given: object) -> None:
        super().__init__(f"{name}: {expected} expected, got {type(given).__name__}")


class DecodeError(FlowclassError):
    """Bytes that are not what they should be.

    ``offset`` counts octets from the start of the structure that was given to the decoder.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} (at octet {offset})")
        self.reason = message
        self.offset = offset


class ParameterProblem(DecodeError):
    """A Mobility Header that RFC 6275 9.2 answers with ICMP Parameter Problem, code 0, pointing at ``offset``."""


class EncodeError(FlowclassError):
    """A value that has no encoding in the profile asked for."""


class ClassifierError(FlowclassError):
    """A rule, key, kernel or table that the engine can't take."""


class _PlacedError(FlowclassError):
    """A file that breaks a rule: ``path`` names the key, ``line`` its line where that can be had."""

    def __init__(self, message: str, *, file: str, path: str = "", line: int | None = None) -> None:
        place = f"{file}:{line}" if line is not None else file
        super().__init__(f"{place}: {path}: {message}" if path else f"{place}: {message}")
        self.reason = message
        self.file = file
        self.path = path
        self.line = line


class BindingsFileError(_PlacedError):
    """A bindings file that breaks a rule: ``path`` names the key, ``line`` its line where that can be had."""


class ConfigurationError(_PlacedError):
    """A live agent's configuration that breaks a rule; with the place, as `BindingsFileError` has it."""


class CaptureError(FlowclassError):
    """A file that is missing or no capture (damage inside a capture is reported, not raised)."""


class OutputError(FlowclassError):
    """An output that can't be written, or whose format nobody knows."""


class StoreError(FlowclassError):
    """A store of bindings that is damaged, foreign, in use, or can't be written; its file is as it was."""


class DamageWarning(UserWarning):
    """A capture was read that is damaged, or one among several was no capture and was passed over."""

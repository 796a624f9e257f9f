"""Errors a user can act on. Each message says what is wrong, what was got and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable


class VintkError(Exception):
    """Base of every error raised on purpose; the command line prints it without a traceback."""


class InputError(VintkError, ValueError):
    """A value from the user lies outside what is allowed."""


class DataMissingError(VintkError, FileNotFoundError):
    """A data set, benchmark file or optional package is not there; the message says how to get it."""


class UnsupportedModuleError(VintkError, TypeError):
    """A network holds a layer the computation has no exact rule for."""


class StoreError(VintkError, RuntimeError):
    """A run folder cannot be read, written or shared."""


class NumericalError(VintkError, ArithmeticError):
    """A computation met NaN or infinity."""


def bad_value(what: str, got: object, allowed: object) -> InputError:
    """Builds the error for a bad value.

    Args:
        what: The name the user knows the value by.
        got: The offending value.
        allowed: A phrase, or the collection of allowed values.

    Returns:
        An `InputError` to raise, reading "<what>: got <got>; allowed: <allowed>".
    """
    if not isinstance(allowed, str) and isinstance(allowed, Iterable):
        allowed = ", ".join(str(item) for item in allowed)
    return InputError(f"{what}: got {got!r}; allowed: {allowed}")


def one_of(what: str, got: str, allowed: Iterable[str]) -> str:
    """Returns `got` if it is among `allowed`; raises `InputError` otherwise."""
    known = list(allowed)
    if got not in known:
        raise bad_value(what, got, known)
    return got


def missing_extra(package: str, extra: str) -> DataMissingError:
    """Builds the error for an optional package that is not installed."""
    return DataMissingError(f"{package} is not installed; get it with: pip install 'vintk-kit[{extra}]'")

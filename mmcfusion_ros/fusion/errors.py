"""What can go wrong in fusion, apart from wrong arguments (``ValueError``)."""

from __future__ import annotations


class BackendError(RuntimeError):
    """A backend cannot be used here: a missing package, device or precision. The text says what to do."""


class FusionError(RuntimeError):
    """A frame could not be fused: the backend failed or its output is not finite."""


class NetworkBusy(FusionError):
    """The network is still at another frame, or takes too long for this one."""


class FrozenThermalError(ValueError):
    """The thermal camera repeats an old frame, and ``frozen_policy`` is drop."""


class BackendGivenUp(FusionError):
    """The backend failed so often that it is not tried again."""


def one_line(error: Exception) -> str:
    """An error's text without its line breaks; its type where it has none."""
    return " ".join(str(error).split()) or repr(error)

"""What can go wrong in fusion, apart from wrong arguments (``ValueError``)."""

from __future__ import annotations


class BackendError(RuntimeError):
    """A backend cannot be used here: a missing package, device or precision. The text says what to do."""


class FusionError(RuntimeError):
    """A frame could not be fused: the backend failed or its output is not finite."""


class NetworkBusy(FusionError):
    """The network is still at another frame, or takes too long for this one."""


class UnusableThermalError(ValueError):
    """A thermal image that no visible one may take the place of; ``reason``: ``frozen_thermal``, an old frame again, or
    ``blind_thermal``, one that shows nothing."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class BackendGivenUp(FusionError):
    """The backend failed so often that it is not tried again."""


def one_line(error: Exception) -> str:
    """An error's text without its line breaks; its type where it has none."""
    return " ".join(str(error).split()) or repr(error)

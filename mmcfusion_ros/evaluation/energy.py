"""Energy that the processor takes, as Intel's and AMD's counters tell it (RAPL, through Linux's powercap)."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Counts from its creation on. ``problem`` says in words why it cannot; empty if it can."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._zones = sorted(powercap.glob("intel-rapl:[0-9]"))  # one for each processor package, AMD's too
        self.problem = "" if self._zones else f"this machine shows no RAPL counters in {powercap}"
        try:
            self._begin = self._read("energy_uj")
            self._range = self._read("max_energy_range_uj")
        except OSError as error:
            self.problem = f"RAPL counters cannot be read: {error}"

    def joules(self) -> float:
        """Taken by all packages until now, whatever ran on them; counters may have begun anew once."""
        now = self._read("energy_uj")
        return (
            sum((end - begin) % (top + 1) for begin, end, top in zip(self._begin, now, self._range, strict=True)) / 1e6
        )

    def _read(self, name: str) -> list[int]:
        return [int((zone / name).read_text()) for zone in self._zones]

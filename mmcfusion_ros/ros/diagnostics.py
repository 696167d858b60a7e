"""What ``/diagnostics`` says: the state of the node, and of each input as Autoware's topic_state_monitor tells it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE


class InputMonitor:
    """Counts what comes in on ``topic`` and what becomes of it. Thread-safe; ``clock_s`` is a steady clock.

    - STALE: no message has come yet
    - ERROR: none for longer than ``timeout_s``, or since the last report not one could be used
    - WARN: some could not be used, or fewer than ``min_rate_hz`` came (0: any rate will do)
    """

    def __init__(
        self, topic: str, timeout_s: float, min_rate_hz: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.topic = topic
        self._timeout_s, self._min_rate_hz, self._clock_s = timeout_s, min_rate_hz, clock_s
        self._lock = threading.Lock()
        self._last_s: float | None = None
        self._reported_s = clock_s()
        self._drops: Mapping[str, int] = {}
        self._received = self._used = self._unusable = 0
        self._reason = ""

    def received(self) -> None:
        """A message came."""
        with self._lock:
            self._received += 1
            self._last_s = self._clock_s()

    def used(self) -> None:
        """One was fused."""
        with self._lock:
            self._used += 1

    def unusable(self, reason: str) -> None:
        """One could not be used, for this reason."""
        with self._lock:
            self._unusable += 1
            self._reason = reason

    def status(self, name: str, drops: Mapping[str, int]) -> DiagnosticStatus:
        """The state since the last call; ``drops`` are all the frames that pairing dropped so far, by reason."""
        with self._lock:
            now_s = self._clock_s()
            seconds = max(now_s - self._reported_s, 1e-9)
            rate_hz = self._received / seconds
            age_s = None if self._last_s is None else now_s - self._last_s
            new_drops = {reason: n - self._drops.get(reason, 0) for reason, n in drops.items()}
            level, text = self._judge(age_s, rate_hz, {reason: n for reason, n in new_drops.items() if n > 0})
            self._reported_s, self._drops = now_s, dict(drops)
            self._received = self._used = self._unusable = 0
        age = "" if age_s is None else f"{age_s:.3f}"
        values = {"topic": self.topic, "rate_hz": f"{rate_hz:.2f}", "age_s": age}
        keys = [KeyValue(key=key, value=value) for key, value in values.items()]
        return DiagnosticStatus(level=level, name=name, message=text, values=keys)

    def _judge(self, age_s: float | None, rate_hz: float, drops: Mapping[str, int]) -> tuple[bytes, str]:
        if age_s is None:
            return STALE, f"no message on {self.topic} yet"
        if age_s > self._timeout_s:
            return ERROR, f"no message on {self.topic} for {age_s:.1f} s"
        level = WARN if self._used else ERROR
        if self._unusable:
            return level, f"{self._unusable} messages on {self.topic} could not be used: {self._reason}"
        if drops and not self._used:
            counts = ", ".join(f"{n} {reason}" for reason, n in sorted(drops.items()))
            return level, f"no message on {self.topic} was used: {counts}"
        if rate_hz < self._min_rate_hz:
            return WARN, f"{self.topic} at {rate_hz:.1f} Hz, less than {self._min_rate_hz:g} Hz"
        return OK, f"{rate_hz:.1f} Hz"


def status_message(
    name: str, hardware_id: str, problems: list[str], values: Mapping[str, str], failure: str = ""
) -> DiagnosticStatus:
    """OK, WARN with the problems, or ERROR with the failure before them."""
    fine = "nobody subscribes, so nothing is fused" if values.get("subscribers") == "0" else "fusing"
    if failure:
        problems = [failure, *problems]
    warning = DiagnosticStatus.WARN if problems else DiagnosticStatus.OK
    return DiagnosticStatus(
        level=DiagnosticStatus.ERROR if failure else warning,
        name=name,
        hardware_id=hardware_id,
        message="; ".join(problems) or fine,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )

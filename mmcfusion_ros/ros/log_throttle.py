"""Log lines that may come with every frame, let through now and then."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable


class LogThrottle:
    """Lets one line in ``period_s`` through for each key, and tells how many it held back. Thread-safe.

    rclpy's ``throttle_duration_sec`` goes by the place in the code: there, one fault hides all others.
    """

    def __init__(self, period_s: float = 5.0, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._period_s, self._clock_s = period_s, clock_s
        self._lock = threading.Lock()
        self._next_s: dict[str, float] = {}
        self._held_back: Counter[str] = Counter()

    def __call__(self, key: str, text: str) -> str:
        """The line to log now; empty if it must wait."""
        with self._lock:
            now_s = self._clock_s()
            if now_s < self._next_s.get(key, now_s):
                self._held_back[key] += 1
                return ""
            self._next_s[key] = now_s + self._period_s
            held_back = self._held_back.pop(key, 0)
        return f"{text} (and {held_back} more like it before)" if held_back else text


def where(topic: str, stamp_ns: int) -> str:
    """How a log line ends that is about one message."""
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    return f"[{topic}, stamp {seconds}.{nanoseconds:09}]"

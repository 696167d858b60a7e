"""``display/image_raw``: the pairs fused for eyes, beside the fused images that are made for detectors."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mmcfusion_ros.fusion.errors import one_line
from mmcfusion_ros.fusion.fuser import Fuser, RegisteredPair
from mmcfusion_ros.fusion.thermal import in_polarity
from mmcfusion_ros.ros.outputs import Outputs
from mmcfusion_ros.stream.messages import fill_image
from mmcfusion_ros.stream.pipeline import Result
from mmcfusion_ros.stream.settings import Settings

NICENESS = 10  # what is fused for detectors comes first
REST, LONGEST_REST_S = 4.0, 1.0  # after each picture, so many times as long as it took
RETRY_S = 5.0


class Display:
    """Works in a thread of its own, at the newest picture, while somebody subscribes, for a fifth of the time at most:
    a busy machine shows fewer pictures. Its network is loaded there for the first pair and kept until ``close``; one
    that fails is loaded again after ``RETRY_S``. ``log`` takes a warning.

    ``show`` is for one thread, the worker's; ``fuser`` is the one that made its results.
    """

    def __init__(self, settings: Settings, outputs: Outputs, fuser: Fuser, log: Callable[[str], object]) -> None:
        self._settings, self._outputs, self._made_by, self._log = settings, outputs, fuser, log
        self._period_s = 1 / settings.number("display.max_rate")
        self._due_s = 0.0
        self._condition = threading.Condition()
        self._newest: tuple[RegisteredPair | np.ndarray, Header] | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._fuser: Fuser | None = None
        self.published = 0
        self.problem = ""  # why there are no images, in words

    def show(self, result: Result, header: Header) -> None:
        """Has a pair fused, or another result's image published, if it is time; does not wait.

        It is time ``display.max_rate`` times a second on average at most.
        """
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = max(self._due_s, now_s - self._period_s) + self._period_s
        image = result.image
        if result.source == "thermal":  # white hot again
            image = in_polarity(image, self._made_by.backend.thermal_polarity)
        with self._condition:
            self._newest = result.pair or image, header
            self._condition.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="display", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Nothing more is published; the thread ends after the picture at work."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._newest or self._closed)
                if self._closed or not self._newest:
                    return
                (picture, header), self._newest = self._newest, None
            begin_s = time.monotonic()
            try:
                image = self._fuse(picture) if isinstance(picture, RegisteredPair) else picture
                publisher = self._outputs.publishers.get("display")
                if publisher and not self._closed:
                    publisher.publish(fill_image(Image(header=header), image, "rgb8"))
                    self.published += 1
                self.problem = ""
                self._rest(min(REST * (time.monotonic() - begin_s), LONGEST_REST_S))
            except Exception as error:
                self._failed(f"display/image_raw: {one_line(error)}")
                self._rest(RETRY_S)

    def _fuse(self, pair: RegisteredPair) -> np.ndarray:
        self._fuser = self._fuser or self._settings.display_fuser()
        return self._fuser.fuse(pair, {})[0]

    def _failed(self, problem: str) -> None:
        if problem != self.problem and not self._closed:
            self._log(problem)
        self._fuser, self.problem = None, problem

    def _rest(self, seconds: float) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._closed, seconds)

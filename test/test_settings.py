"""Parameter values become what they stand for."""

from __future__ import annotations

import cv2
import pytest

from mmcfusion_ros.stream.parameter_files import load_values
from mmcfusion_ros.stream.settings import Settings

SMALL = ["warm_up_width=64", "warm_up_height=64"]


def settings(*values: str) -> Settings:
    return Settings(load_values(None, [*SMALL, *values]))


@pytest.fixture
def opencv_threads():
    cv2.setNumThreads(-1)
    yield
    cv2.setNumThreads(-1)


@pytest.mark.usefixtures("opencv_threads")
def test_threads_bound_opencv_too():
    everything = cv2.getNumThreads()
    settings("threads=1").backend()
    assert cv2.getNumThreads() == 1
    settings("threads=0").backend()
    assert cv2.getNumThreads() == everything

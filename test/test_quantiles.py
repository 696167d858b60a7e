"""Quantiles of a sample, quicker than NumPy's and the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmcfusion_ros.fusion.thermal import SAMPLES, live_sample, quantiles

SHARES = (0, 0.01, 0.5, 0.995, 1)


@given(arrays(st.sampled_from([np.uint8, np.uint16, np.float32]), st.integers(1, 40), elements=st.integers(0, 255)))
@settings(deadline=None)
def test_quantiles_are_numpys(values):
    assert quantiles(np.sort(values), SHARES) == pytest.approx(np.quantile(values.astype(float), SHARES))


@pytest.mark.parametrize("shape", [(9, 7), (480, 640), (1080, 1920)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_sample_is_in_order_and_large_enough(shape, dtype):
    image = np.random.default_rng(0).integers(1, 256, shape, dtype)
    sample = live_sample(image)
    assert (np.diff(sample.astype(int)) >= 0).all()
    assert min(image.size, SAMPLES / 2) <= sample.size <= 4 * SAMPLES

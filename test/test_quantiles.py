"""Quantiles of a sample, quicker than NumPy's and the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmcfusion_ros.fusion.conditions import SAMPLES, ordered_sample, quantile


@given(arrays(st.sampled_from([np.uint8, np.uint16, np.float32]), st.integers(1, 40), elements=st.integers(0, 255)))
@settings(deadline=None)
def test_a_quantile_is_numpys(values):
    for share in (0, 0.01, 0.5, 0.995, 1):
        assert quantile(np.sort(values), share) == pytest.approx(np.quantile(values.astype(float), share))


@pytest.mark.parametrize("shape", [(9, 7), (480, 640), (1080, 1920), (480, 640, 3)])
def test_a_sample_is_in_order_and_large_enough(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    sample = ordered_sample(image)
    assert (np.diff(sample.astype(int)) >= 0).all()
    pixels = sample.size // np.prod(shape[2:], dtype=int)
    assert min(image.size, SAMPLES / 2) <= pixels <= 4 * SAMPLES

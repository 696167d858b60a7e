"""Fusion metrics: published check values on real pairs, and cases that can be worked out by hand."""

from __future__ import annotations

import os
from itertools import product

import cv2
import numpy as np
import pytest
from scipy.signal import convolve2d, correlate2d, fftconvolve
from skimage.metrics import structural_similarity

from mmcfusion_ros.data.images import read_rgb, read_thermal
from mmcfusion_ros.data.pair_folder import find_pairs
from mmcfusion_ros.evaluation.metrics import (
    MORE,
    average_gradient,
    correlation,
    edges_kept,
    entropy,
    fusion_metrics,
    mutual_information,
    spatial_frequency,
    visual_information_fidelity,
)
from mmcfusion_ros.fusion.fuser import split_luminance

NAMES = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM")
SUMS = ("EN", "SD", "SF", "AG", "MI", "SCD", "CC", "VIF", "Qabf", "SSIM", "SSIM_cdd")


nightly = pytest.mark.skipif(not os.environ.get("MMCFUSION_NIGHTLY"), reason="MMCFUSION_NIGHTLY=1 runs it")


def brighter(a, b):
    return np.maximum(a, b)


def thermal_alone(a, b):
    return a


@pytest.mark.parametrize(
    ("folder", "rule", "expected"),
    [
        ("roadscene/test", brighter, (6.9999, 43.6435, 11.6727, 4.1397, 5.1186, 1.4229, 0.8641, 0.6138, 1.3790)),
        pytest.param(
            *("roadscene/test", thermal_alone),
            (7.4222, 51.1835, 12.2064, 4.7253, 5.8053, 0.8007, 1.0534, 0.6668, 1.3682),
            marks=nightly,
        ),
        pytest.param(
            *("msrs/test", brighter),
            (6.4422, 44.3453, 11.2421, 3.5149, 4.4359, 1.6776, 1.0424, 0.7095, 1.4045),
            marks=nightly,
        ),
        ("pet_mri/test", brighter, (4.6970, 88.3611, 33.3828, 10.2206, 3.5923, 1.3884, 0.8691, 0.7458, 1.3983)),
    ],
)
def test_means_over_real_pairs_are_the_check_values(shared_data, folder, rule, expected):
    rows = []
    for files in find_pairs(shared_data / folder):
        a, (b, _) = read_thermal(files.thermal), split_luminance(read_rgb(files.rgb))
        metrics = fusion_metrics(a, b, rule(a, b))
        rows.append([metrics[name] for name in NAMES])
    np.testing.assert_allclose(np.mean(rows, axis=0), expected, atol=1e-3)


def texture(seed=0, shape=(64, 80)):
    image = np.random.default_rng(seed).normal(128, 60, shape)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.5) * 3 - 256, 0, 255).astype(np.uint8)


class TestByHand:
    @pytest.mark.parametrize("levels", [1, 2, 16, 256])
    def test_entropy_of_equally_many_pixels_of_n_levels_is_log2_n(self, levels):
        image = np.repeat(np.arange(levels, dtype=np.uint8), 512).reshape(-1, 64)
        assert entropy(image) == pytest.approx(np.log2(levels))

    def test_entropy_of_a_quarter_and_three_quarters(self):
        image = np.array([[9, 200], [200, 200]], np.uint8)
        assert entropy(image) == pytest.approx(0.25 * 2 + 0.75 * np.log2(4 / 3))

    def test_ramp_has_the_frequency_and_gradient_of_its_slopes(self):
        rows, columns = np.mgrid[:50.0, :60.0]
        ramp = 3 * columns + 4 * rows
        assert spatial_frequency(ramp) == pytest.approx(5)
        assert average_gradient(ramp) == pytest.approx(5 / np.sqrt(2))

    def test_mutual_information_with_itself_is_the_entropy_in_nats(self):
        image = texture()
        assert mutual_information(image, image) == pytest.approx(entropy(image) * np.log(2))
        assert mutual_information(image, 255 - image) == pytest.approx(entropy(image) * np.log(2))

    def test_independent_images_share_no_information(self):
        rows, columns = np.mgrid[:64, :64].astype(np.uint8)
        assert mutual_information(rows, columns) == pytest.approx(0, abs=1e-12)

    def test_correlation(self):
        x = texture().astype(float)
        assert correlation(x, 0.3 * x + 7) == pytest.approx(1)
        assert correlation(x, -x) == pytest.approx(-1)
        assert correlation(x, np.full_like(x, 3)) == 0
        y = texture(1).astype(float)
        assert correlation(x, y) == pytest.approx(np.corrcoef(x.ravel(), y.ravel())[0, 1])

    def test_information_fidelity_grows_with_contrast_and_falls_with_blur(self):
        image = texture().astype(float)
        assert visual_information_fidelity(image, image) == pytest.approx(1)
        assert visual_information_fidelity(image, 1.5 * image) > 1.01
        assert visual_information_fidelity(image, cv2.GaussianBlur(image, (0, 0), 2)) < 0.5
        assert visual_information_fidelity(image, np.zeros_like(image)) == pytest.approx(0, abs=1e-6)

    def test_edges_kept_whole_give_the_largest_value_and_lost_ones_nearly_none(self):
        image = texture().astype(float)
        whole = 0.9994 / (1 + np.exp(-15 * 0.5)) * 0.9879 / (1 + np.exp(-22 * 0.2))
        kept, present = edges_kept(image, image)
        assert kept / present == pytest.approx(whole)
        kept, present = edges_kept(image, np.zeros_like(image))
        assert kept / present < 0.01


class TestAllTogether:
    def test_three_identical_images(self):
        image = texture()
        metrics = fusion_metrics(image, image, image)
        assert list(metrics) == [*SUMS, "VIF_min", "SSIM_min", "Qabf_min"]
        assert metrics["SD"] == pytest.approx(image.std())
        assert metrics["MI"] == pytest.approx(2 * metrics["EN"] * np.log(2))
        assert metrics["SCD"] == 0
        assert metrics["CC"] == pytest.approx(1)
        assert metrics["VIF"] == pytest.approx(2)
        assert metrics["SSIM"] == pytest.approx(2)
        assert metrics["SSIM_cdd"] == pytest.approx(2)
        assert (metrics["VIF_min"], metrics["SSIM_min"]) == pytest.approx((1, 1))
        assert metrics["Qabf_min"] == pytest.approx(metrics["Qabf"])

    def test_the_smaller_value_is_that_of_the_source_that_was_left_out(self):
        a, b = texture(9), texture(10)
        metrics, of_each = fusion_metrics(a, b, a), [fusion_metrics(x, x, a) for x in (a, b)]
        for name in ("VIF", "SSIM"):
            assert metrics[name] == pytest.approx(sum(each[name] for each in of_each) / 2)
            assert metrics[f"{name}_min"] == pytest.approx(of_each[1][name] / 2)
        assert metrics["Qabf_min"] == pytest.approx(of_each[1]["Qabf"])
        assert metrics["Qabf_min"] < metrics["Qabf"] < of_each[0]["Qabf"]

    def test_qabf_weighs_both_sources_by_the_strength_of_their_edges(self):
        a, b, f = texture(11), texture(12) // 4, texture(11)
        kept = np.array([edges_kept(x.astype(float), f.astype(float)) for x in (a, b)])
        assert fusion_metrics(a, b, f)["Qabf"] == pytest.approx(kept[:, 0].sum() / kept[:, 1].sum())

    @pytest.mark.parametrize("level", [0, 77, 255])
    def test_constant_images_have_finite_metrics(self, level):
        flat = np.full((64, 64), level, np.uint8)
        for images in ((flat, flat, flat), (texture(0, (64, 64)), flat, flat), (flat, texture(0, (64, 64)), flat)):
            metrics = fusion_metrics(*images)
            assert all(np.isfinite(list(metrics.values()))), metrics
            assert metrics["EN"] == metrics["SD"] == metrics["SF"] == metrics["AG"] == 0
            assert metrics["MI"] == pytest.approx(0)

    def test_a_sum_of_two_sources_has_all_their_differences(self):
        a, b = texture(4) // 2, texture(5) // 2
        metrics = fusion_metrics(a, b, a + b)
        assert metrics["SCD"] == pytest.approx(2)

    def test_sources_may_be_exchanged(self):
        a, b, f = texture(6), texture(7), texture(8)
        assert fusion_metrics(a, b, f) == pytest.approx(fusion_metrics(b, a, f))

    def test_images_stay_as_they_were(self):
        images = [texture(seed) for seed in range(3)]
        before = [image.copy() for image in images]
        fusion_metrics(*images)
        assert all(map(np.array_equal, images, before))


class TestWrongImages:
    @pytest.mark.parametrize("position", range(3))
    @pytest.mark.parametrize(
        "wrong",
        [
            np.zeros((64, 81), np.uint8),
            np.zeros((64, 80, 3), np.uint8),
            np.zeros((64, 80, 1), np.uint8),
            np.zeros((64, 80)),
            np.zeros((64, 80), np.uint16),
            np.zeros((64, 80), bool),
        ],
        ids=lambda image: f"{image.dtype}{image.shape}",
    )
    def test_shape_or_type_that_differs(self, position, wrong):
        images = [texture()] * 3
        images[position] = wrong
        with pytest.raises(ValueError, match="three uint8 grey images of one shape"):
            fusion_metrics(*images)

    @pytest.mark.parametrize("shape", [(0, 0), (40, 64), (64, 40), (7, 7)])
    def test_images_without_all_four_scales_of_vif(self, shape):
        image = np.zeros(shape, np.uint8)
        with pytest.raises(ValueError, match="at least 41"):
            fusion_metrics(image, image, image)

    def test_smallest_image_with_all_four_scales(self):
        image = texture(0, (41, 41))
        assert fusion_metrics(image, image, image)["VIF"] == pytest.approx(2)


def straightforward(a, b, f):
    """``MORE``, written down once more: pixel by pixel and window by window, from the published code of VIFB, of
    Shreyamsha Kumar (Nabf), and of Haghighat (FMI)."""
    shape, planes = f.shape, [image.astype(float) for image in (a, b, f)]
    histogram = [np.histogram(image, 256, (0, 256))[0] / image.size for image in planes]
    found = {"PSNR": 20 * np.log10(255 / np.sqrt(np.mean([np.mean((planes[2] - s) ** 2) for s in planes[:2]])))}
    found["CE"] = sum(
        p[i] * np.log2(p[i] / histogram[2][i]) / 2
        for p in histogram[:2]
        for i in range(256)
        if p[i] > 0 and histogram[2][i] > 0
    )
    found["MI_bits"] = 0.0
    for s in planes[:2]:
        joint = np.histogram2d(s.ravel(), planes[2].ravel(), 256, [(0, 256), (0, 256)])[0] / s.size
        p, q = joint.sum(1), joint.sum(0)
        found["MI_bits"] += sum(joint[i, j] * np.log2(joint[i, j] / p[i] / q[j]) for i, j in np.argwhere(joint))
    found["FMI"] = (windowed(planes[0], planes[2]) + windowed(planes[1], planes[2])) / 2

    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    gradients = []
    for plane in planes:
        gx, gy = (correlate2d(np.pad(plane, 1, "reflect"), s / 8, "valid") for s in (sobel, sobel.T))
        gradients.append((np.sqrt(gx**2 + gy**2), np.arctan2(gy, gx)))
    made = whole = 0.0
    for y, x in np.ndindex(shape):
        (ga, aa), (gb, ab), (gf, af) = ((g[y, x], angle[y, x]) for g, angle in gradients)
        for g, angle in ((ga, aa), (gb, ab)):
            ratio = 0 if g == 0 or gf == 0 else min(g, gf) / max(g, gf)
            turn = abs(np.mod(angle - af + np.pi / 2, np.pi) - np.pi / 2)  # of undirected edges, 0 to pi / 2
            strong, aligned = 0.9999 / (1 + np.exp(-19 * (ratio - 0.5))), 1 - turn * 2 / np.pi
            kept = np.sqrt(strong * 0.9995 / (1 + np.exp(-22 * (aligned - 0.5))))
            weight = g**1.5 if g >= 2 else 0
            made += (1 - kept) * weight * (gf > ga and gf > gb)
            whole += weight
    found["Nabf"] = made / whole

    stretched = [np.round((s - s.min()) / (s.max() - s.min()) * 255) for s in planes]
    v, u = (np.arange(-(n // 2), n - n // 2) * 2 / n * n for n in shape)  # freqspace, times the side

    def filtered(plane, response):
        r = np.sqrt(u[None] ** 2 + v[:, None] ** 2)
        return np.real(np.fft.ifft2(np.fft.ifftshift(np.fft.fftshift(np.fft.fft2(plane)) * response(r))))

    x = np.arange(-15, 16)
    bells = [np.exp(-(x[None] ** 2 + x[:, None] ** 2) / 2 / s**2) / 2 / np.pi / s**2 for s in (2, 4)]
    contrasts = []
    for plane in stretched:
        seen = filtered(plane, lambda r: np.exp(-((r / 30 / 15.387) ** 2)) - 0.7622 * np.exp(-((r / 30 / 1.3456) ** 2)))
        fine, coarse = (correlate2d(seen, bell, "same") for bell in bells)
        c = np.abs(fine / coarse - 1)
        contrasts.append(c**3 / (c**2 + 0.0001))
    ca, cb, cf = contrasts
    quality = [np.where(c < cf, c / cf, cf / c) for c in (ca, cb)]
    found["Qcb"] = np.mean((ca**2 * quality[0] + cb**2 * quality[1]) / (ca**2 + cb**2))

    lost = whole = 0.0
    for plane in stretched[:2]:
        gx, gy = (correlate2d(plane, s, "same") for s in (sobel, sobel.T))
        seen = filtered(plane - stretched[2], lambda r: 2.6 * (0.0192 + 0.018 * r) * np.exp(-((0.018 * r) ** 1.1)))
        for y, x in product(range(0, shape[0], 16), range(0, shape[1], 16)):
            block = np.s_[y : y + 16, x : x + 16]
            salience = (np.sqrt(gx**2 + gy**2)[block] ** 5).sum()
            lost += salience * (seen[block] ** 2).sum() / 256
            whole += salience
    found["Qcv"] = lost / whole
    return found


def multi_scale(x, y):
    bell = np.exp(-(np.arange(-5, 6) ** 2) / 2 / 1.5**2)
    bell = np.outer(bell, bell) / bell.sum() ** 2
    value = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mx, my, xx, yy, xy = (correlate2d(p, bell, "valid") for p in (x, y, x * x, y * y, x * y))
        terms = (2 * (xy - mx * my) + (0.03 * 255) ** 2) / (xx - mx**2 + yy - my**2 + (0.03 * 255) ** 2)
        if scale == 4:
            terms = terms * (2 * mx * my + 2.55**2) / (mx**2 + my**2 + 2.55**2)
        value *= terms.mean() ** weight
        padded = [np.pad(p, [(0, n % 2) for n in p.shape], "symmetric") for p in (x, y)]
        x, y = ((p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2]) / 4 for p in padded)
    return value


def windowed(s, f):
    values = []
    for y, x in product(range(s.shape[0] - 2), range(s.shape[1] - 2)):
        windows = [image[y : y + 3, x : x + 3].T.ravel() for image in (s, f)]
        if (windows[0] == windows[1]).all():
            values.append(1)
            continue
        p, q = ((w - w.min() if w.max() > w.min() else np.ones(9)) for w in windows)
        p, q = p / p.sum(), q / q.sum()
        cp, cq = [p[: i + 1].sum() for i in range(9)], [q[: i + 1].sum() for i in range(9)]
        tp, tq = p - p.mean(), q - q.mean()
        c = 0 if abs((tp * tq).sum()) < 1e-15 else (tp * tq).sum() / np.sqrt((tp**2).sum() * (tq**2).sum())
        sp, sq = (np.sqrt((d * np.arange(1, 10) ** 2).sum() - (d * np.arange(1, 10)).sum() ** 2) for d in (p, q))

        def bound(i, j, cp=cp, cq=cq, c=c):
            if i < 0 or j < 0:
                return 0.0
            return min(cp[i], cq[j]) if c >= 0 else max(cp[i] + cq[j] - 1, 0)

        cells = [*product(range(9), range(9))]
        largest = sum(bound(i, j) - cp[i] * cq[j] for i, j in cells)
        share = c / (largest / sp / sq) if c and sp > 1e-9 and sq > 1e-9 else 0
        joint = 0.0
        for i, j in cells:
            coupled = bound(i, j) - bound(i - 1, j) - bound(i, j - 1) + bound(i - 1, j - 1)
            cell = share * coupled + (1 - share) * p[i] * q[j]
            joint -= cell * np.log2(cell) if cell > 0 else 0
        alone = sum(-v * np.log2(v) for v in (*p, *q) if v > 0)
        values.append(2 * (alone - joint) / alone if alone else 0)
    return np.mean(values)


class TestMore:
    def test_equal_an_implementation_that_is_not_this_one(self):
        """Odd sides, not multiples of a block; a fused image with artefacts of its own."""
        a, b = texture(1, (53, 45)), texture(2, (53, 45))
        f = np.clip(np.maximum(a, b) + 20.0 * (texture(3, (53, 45)) > 128), 0, 255).astype(np.uint8)
        a[10:30, 15:40] = 7  # flat
        expected = straightforward(a, b, f)
        assert expected["Nabf"] > 0.01
        for name in MORE.keys() - {"MS_SSIM"}:
            assert MORE[name](a, b, f) == pytest.approx(expected[name], rel=1e-6), name

    def test_on_five_scales_equal_an_implementation_that_is_not_this_one(self):
        a, b, f = (texture(seed, (163, 165)) for seed in range(3))
        expected = multi_scale(a.astype(float), f.astype(float)) + multi_scale(b.astype(float), f.astype(float))
        assert MORE["MS_SSIM"](a, b, f) == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize(
        ("folder", "expected"), [("roadscene/test", 0.6085812), ("msrs/test", 0.5701551), ("pet_mri/test", 0.7432000)]
    )
    def test_fmi_of_a_real_pair(self, shared_data, folder, expected):
        """As computed in double precision, window by window, before it was made fast."""
        files = find_pairs(shared_data / folder)[0]
        a, (b, _) = read_thermal(files.thermal), split_luminance(read_rgb(files.rgb))
        assert MORE["FMI"](a, b, brighter(a, b)) == pytest.approx(expected, abs=1e-6)

    def test_of_three_equal_images(self):
        a = texture(1, (176, 176))
        found = {name: metric(a, a, a) for name, metric in MORE.items()}
        best = {"CE": 0, "MS_SSIM": 2, "Nabf": 0, "Qcb": 1, "Qcv": 0, "FMI": 1, "PSNR": np.inf}
        assert {name: found[name] for name in best} == pytest.approx(best)

    @pytest.mark.parametrize("level", [0, 128])
    def test_of_flat_images_are_finite(self, level):
        flat, other = np.full((176, 176), level, np.uint8), texture(1, (176, 176))
        for images in ((flat, flat, other), (other, flat, flat), (flat, other, other)):
            assert np.isfinite([metric(*images) for metric in MORE.values()]).all()

    def test_are_beside_the_usual_ones_where_asked_for(self):
        a = texture(1, (64, 80))
        assert [*fusion_metrics(a, a, a, ["Qcb", "CE"])] == [*fusion_metrics(a, a, a), "Qcb", "CE"]
        with pytest.raises(ValueError, match="80x64: MS_SSIM needs sides of at least 161"):
            fusion_metrics(a, a, a, ["MS_SSIM"])


def cddfuse(a, b, f):
    """As the evaluator of CDDFuse defines them (design/quality.md), with SciPy's plain convolutions."""
    a, b, f = (image.astype(float) for image in (a, b, f))

    def kept(source, image):
        filtered = [[convolve2d(plane, s, "same") for s in SOBEL] for plane in (source, image)]
        (strength, turn), (fused, fused_turn) = (
            (np.hypot(*g), np.where(g[0] == 0, np.pi / 2, np.arctan(g[1] / np.where(g[0] == 0, 1, g[0]))))
            for g in filtered
        )
        larger = np.maximum(strength, fused)
        ratio = np.minimum(strength, fused) / np.where(larger == 0, 1, larger)
        aligned = 1 - np.abs(turn - fused_turn) / (np.pi / 2)
        quality = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5))) * 0.9879 / (1 + np.exp(-22 * (aligned - 0.8)))
        return (quality * strength).sum(), strength.sum()

    def vif(reference, image):
        part = whole = 0.0
        for size in (17, 9, 5, 3):
            x = np.arange(size) - size // 2
            bell = np.exp(-(x[:, None] ** 2 + x**2) / 2 / (size / 5) ** 2)
            bell /= bell.sum()

            def mean(plane, bell=bell):
                return fftconvolve(plane, bell, "valid")

            if size < 17:
                reference, image = mean(reference)[::2, ::2], mean(image)[::2, ::2]
            mr, mi = mean(reference), mean(image)
            vr, vi = (np.maximum(mean(p * p) - m * m, 0) for p, m in ((reference, mr), (image, mi)))
            c = mean(reference * image) - mr * mi
            g = c / (vr + 1e-10)
            s = vi - g * c
            g[vr < 1e-10], s[vr < 1e-10], vr[vr < 1e-10] = 0, vi[vr < 1e-10], 0
            g[vi < 1e-10], s[vi < 1e-10] = 0, 0
            s[g < 0], g[g < 0] = vi[g < 0], 0
            s[s <= 1e-10] = 1e-10
            part += np.log10(1 + g * g * vr / (s + 2)).sum()
            whole += np.log10(1 + vr / 2).sum()
        return part / whole

    def information(source):
        joint = np.histogram2d(source.ravel(), f.ravel(), 256, [(0, 256), (0, 256)])[0] / f.size
        i, j = np.nonzero(joint)
        return (joint[i, j] * np.log(joint[i, j] / joint.sum(1)[i] / joint.sum(0)[j])).sum()

    share = np.histogram(f, 256, (0, 256))[0] / f.size
    gy, gx = np.gradient(f)
    edges = kept(a, f), kept(b, f)
    return {
        "EN": -sum(p * np.log2(p) for p in share if p),
        "SD": np.std(f),
        "SF": np.sqrt(np.mean((f[:, 1:] - f[:, :-1]) ** 2) + np.mean((f[1:] - f[:-1]) ** 2)),
        "AG": np.mean(np.sqrt((gx**2 + gy**2) / 2)),
        "MI": information(a) + information(b),
        "SCD": np.corrcoef(a.ravel(), (f - b).ravel())[0, 1] + np.corrcoef(b.ravel(), (f - a).ravel())[0, 1],
        "VIF": vif(a, f) + vif(b, f),
        "Qabf": (edges[0][0] + edges[1][0]) / (edges[0][1] + edges[1][1]),
        "SSIM": sum(structural_similarity(s, f, data_range=255) for s in (a, b)),
        "SSIM_cdd": sum(structural_similarity(s, f, data_range=2) for s in (a, b)),
    }


SOBEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]), np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])


@pytest.mark.slow
def test_are_those_of_the_evaluator_of_cddfuse_on_each_shared_folder(shared_data):
    folders = sorted(shared_data.glob("*/t[er]*"))  # test, train
    assert len(folders) > 5
    for folder in folders:
        files = find_pairs(folder)[0]
        a, b = read_thermal(files.thermal), split_luminance(read_rgb(files.rgb))[0]
        a, b = a[80:320, 60:380], b[80:320, 60:380]
        f = cv2.addWeighted(a, 0.6, b, 0.5, 0)
        found = fusion_metrics(a, b, f)
        expected = cddfuse(a, b, f)
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-4), folder

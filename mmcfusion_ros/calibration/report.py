"""One calibration from pairs to files: the YAML for the node, a picture, and what to say about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmcfusion_ros.alignment.find import ImagePair, same_view
from mmcfusion_ros.alignment.fit import LEAST_FRAMES
from mmcfusion_ros.calibration.board_homography import homography_from_boards
from mmcfusion_ros.calibration.board_rig import rig_from_boards
from mmcfusion_ros.calibration.boards import Board, rms
from mmcfusion_ros.calibration.picture import before_and_after
from mmcfusion_ros.calibration.recording import ThermalAndRgb
from mmcfusion_ros.calibration.scene_homography import calibrate_from_images, region_markdown
from mmcfusion_ros.files import write_file
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import save_calibration
from mmcfusion_ros.fusion.fuser import split_luminance

Found = tuple[Calibration, str, int]  # the calibration, what to say about it, and the pair to show


def calibrate(
    pairs: Sequence[ThermalAndRgb],
    model: str,
    board: Board | None,
    out: Path,
    source: str,
    plane_m: float | None = None,
) -> str:
    """Writes ``out`` (YAML) and a picture beside it (``.jpg``); the report as Markdown.

    Without a ``board`` from the scene; with one of known spacing lenses and extrinsics, exact at ``plane_m``.
    ``ValueError`` with the reason, and no file, where the result would not be good enough.
    """
    if not pairs:
        raise ValueError(f"{source} holds no pair of a thermal and an RGB frame")
    for position, camera in enumerate(("thermal", "RGB")):
        sizes = sorted({pair[position].shape[1::-1] for pair in pairs})
        if len(sizes) > 1:
            listed = ", ".join(f"{width}x{height}" for width, height in sizes[:3])
            raise ValueError(
                f"{source} holds {camera} images of {len(sizes)} sizes ({listed}); calibrate one rig at one"
            )
    luminance = [(thermal, split_luminance(rgb)[0]) for thermal, rgb in pairs]
    if board is None:
        calibration, summary, shown = _from_scene(luminance, model)
    elif board.spacing_m is None:
        calibration, summary, shown = _from_board(luminance, board)
    else:
        calibration, summary, shown = _from_known_board(luminance, board, plane_m)
    thermal, rgb = pairs[shown]
    save_calibration(calibration, out, f"from {source}\n{summary}")
    picture = out.with_suffix(".jpg")
    before = Calibration(same_view(thermal.shape, rgb.shape))
    image = before_and_after(thermal, rgb, before, calibration)
    write_file(picture, cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
    return f"{summary}\nwrote {out} and {picture}: look at the picture before you use the file\n"


def _from_scene(pairs: Sequence[ImagePair], model: str) -> Found:
    found = calibrate_from_images(pairs, model)
    alignment = found.alignment
    summary = f"{len(found.used)} of {len(pairs)} frames used\n"
    summary += f"correlation of edges: {alignment.correlation:.2f}\n"
    summary += f"expected error at the corners: {found.deviation_px:.2f} pixels of 640\n"
    if len(found.used) < LEAST_FRAMES:
        summary += "few frames: the result cannot be checked against itself; look at the picture\n"
    if found.simplified:
        summary += f"model {found.model} instead of {model}: {found.simplified}\n"
    summary += "\n" + region_markdown(alignment)
    return _homography(alignment.homography, pairs), summary, found.used[len(found.used) // 2]


def _from_board(pairs: Sequence[ImagePair], board: Board) -> Found:
    found = homography_from_boards(pairs, board)
    summary = f"board found in {len(found.views)} of {len(pairs)} pairs\n"
    summary += f"reprojection error: {_errors(found.errors_px)} RGB pixels\n"
    return _homography(found.homography, pairs), summary, found.views[0]


def _from_known_board(pairs: Sequence[ImagePair], board: Board, plane_m: float | None) -> Found:
    found = rig_from_boards(pairs, board, plane_m)
    calibration, distances = found.calibration, found.distances_m
    lines = [
        f"{name} lens from {len(lens.views)} images: reprojection error {_errors(lens.errors_px)} pixels, "
        f"focal length known to {100 * lens.focal_deviation:.2f} %"
        for name, lens in (("thermal", found.thermal), ("RGB", found.rgb))
    ]
    lines += [
        f"place of the cameras from {len(found.views)} pairs, boards at {min(distances):.2f} to {max(distances):.2f} m",
        f"distance of the cameras: {100 * np.linalg.norm(np.asarray(calibration.translation)):.1f} cm",
        f"overlay of the boards, each on its own plane: off by {_errors(found.errors_px)} RGB pixels",
        f"the file's plane is {calibration.plane_distance:.2f} m before the RGB camera (--plane); what that costs "
        "elsewhere: mmcfusion calibrate --report FILE",
        "",
        "| pair | board at, m | thermal lens, px | RGB lens, px | overlay, px |",
        "|---|---|---|---|---|",
    ]
    by_pair = [dict(zip(lens.views, lens.errors_px, strict=True)) for lens in (found.thermal, found.rgb)]
    for view, distance, error in zip(found.views, distances, found.errors_px, strict=True):
        lenses = " | ".join(f"{errors[view]:.2f}" if view in errors else "left out" for errors in by_pair)
        lines.append(f"| {view + 1} | {distance:.2f} | {lenses} | {error:.2f} |")
    summary = "\n".join(lines) + "\n"
    nearest = np.argmin(np.abs(np.array(distances) - calibration.plane_distance))
    return calibration, summary, found.views[nearest]


def _homography(homography: np.ndarray, pairs: Sequence[ImagePair]) -> Calibration:
    thermal, rgb = pairs[0]
    return Calibration(homography, thermal.shape[::-1], rgb.shape[::-1])


def _errors(errors_px: Sequence[float]) -> str:
    return f"{rms(errors_px):.2f} ({min(errors_px):.2f} to {max(errors_px):.2f} per view)"

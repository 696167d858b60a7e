"""One calibration from the cameras of several imported files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from mmcfusion_ros.bags.topics import camera_by_name
from mmcfusion_ros.calibration.imported import ImportedCamera, read_cameras
from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.calibration_file import save_calibration
from mmcfusion_ros.stream.pairing import Stream


def import_calibration(
    files: Sequence[Path],
    out: Path,
    plane_m: float | None = None,
    thermal: Collection[str] = (),
    rgb: Collection[str] = (),
) -> str:
    """Writes ``out`` from the files of other tools; what was taken from where.

    Which camera is the thermal one is told by topics and names of cameras and files, or by ``thermal`` and ``rgb``,
    names from the error that asks. Of two lenses of one camera that in the later file counts. ``ValueError`` where
    something is missing or not clear.
    """
    cameras = [camera for file in files for camera in read_cameras(file)]
    chosen = {"thermal": _chosen("thermal", cameras, thermal)}
    others = [camera for camera in cameras if camera not in chosen["thermal"]]
    chosen["rgb"] = _chosen("rgb", others, rgb)
    lenses = {name: [c for c in found if c.intrinsics] for name, found in chosen.items()}
    placed = [(a, b) for a in chosen["thermal"] for b in chosen["rgb"] if a.pose is not None and a.frame == b.frame]
    if not placed:
        raise ValueError("no file says where the thermal camera stands beside the RGB one; add a camchain, or the like")
    a, b = placed[-1]
    assert a.pose is not None
    assert b.pose is not None
    thermal_to_rgb = np.linalg.inv(b.pose) @ a.pose
    calibration = Calibration(
        rotation=thermal_to_rgb[:3, :3],
        translation=thermal_to_rgb[:3, 3],
        thermal=lenses["thermal"][-1].intrinsics if lenses["thermal"] else None,
        rgb=lenses["rgb"][-1].intrinsics if lenses["rgb"] else None,
        plane_distance=np.inf if plane_m is None else plane_m,
    )
    summary = f"place of the cameras from {a.name} and {b.name}, {100 * np.linalg.norm(thermal_to_rgb[:3, 3]):.1f} cm"
    for name, found in lenses.items():
        summary += f"\n{name} lens: {_told(found)}"
    save_calibration(calibration, out, f"from {', '.join(map(str, files))}\n{summary}")
    return f"{summary}\nwrote {out}; what its plane costs: mmcfusion calibrate --report {out}\n"


def _told(lenses: Sequence[ImportedCamera]) -> str:
    if not lenses:
        return "none; the node waits for camera_info"
    used = lenses[-1].intrinsics
    assert used
    left = f" (not that of {', '.join(lens.name for lens in lenses[:-1])})" if len(lenses) > 1 else ""
    return f"{lenses[-1].name}, for images of {used.width}x{used.height}, {used.distortion_model}{left}"


def _chosen(role: Stream, cameras: Sequence[ImportedCamera], names: Collection[str]) -> list[ImportedCamera]:
    """All that the files say of one camera."""
    if unknown := set(names) - {camera.name for camera in cameras}:
        raise ValueError(f"no camera is called {', '.join(sorted(unknown))}; there are {_listed(cameras)}")
    if names:
        return [camera for camera in cameras if camera.name in names]
    named = [camera for camera in cameras if camera_by_name(camera.label) == role]
    nameless = [camera for camera in cameras if camera_by_name(camera.label) is None]
    if named:
        return named
    if role == "rgb" and len(nameless) == 1:
        return nameless
    raise ValueError(f"which one is the {role} camera? Name it with --{role}: {_listed(cameras)}")


def _listed(cameras: Sequence[ImportedCamera]) -> str:
    return ", ".join(f"{camera.name} ({camera.label.strip()})" for camera in cameras) or "none"

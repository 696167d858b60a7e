"""What the cameras say of themselves in camera_info: lenses for a calibration that has none, and what goes out."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmcfusion_ros.fusion.calibration import Calibration
from mmcfusion_ros.fusion.fuser import check_size
from mmcfusion_ros.fusion.registration import Registration
from mmcfusion_ros.stream.pairing import Stream

if TYPE_CHECKING:  # loaded only where the calibration is that of lenses
    from mmcfusion_ros.fusion.camera import Intrinsics


class CameraInfoRegistration:
    """A calibration completed by what the cameras say of themselves.

    ``registration`` is the one of now; it raises at the first image while intrinsics are missing. It begins with the
    messages that another one ``before`` took.
    """

    def __init__(self, calibration: Calibration, before: CameraInfoRegistration | None = None) -> None:
        self._calibration = calibration
        self._messages: dict[Stream, Any] = dict(before._messages) if before else {}
        self._wrong: dict[str, str] = {}
        self._complete()

    @property
    def cameras(self) -> list[Stream]:
        """Those whose camera_info is needed: ``thermal``, ``rgb``, both or none."""
        own: dict[Stream, Intrinsics | None] = {"thermal": self._calibration.thermal, "rgb": self._calibration.rgb}
        needed = self._calibration.kind == "calibrated"
        return [camera for camera, intrinsics in own.items() if needed and intrinsics is None]

    def take(self, message: Any, camera: Stream) -> bool:
        """A message; True if it changes the registration: one of :attr:`cameras` has other content."""
        before, self._messages[camera] = self._messages.get(camera), message
        same = before is not None and camera_content(before) == camera_content(message)
        if same or camera not in self.cameras:
            return False
        self._complete()
        return True

    def _complete(self) -> None:
        intrinsics: dict[Stream, Intrinsics] = {}
        for camera in self.cameras:
            self._wrong.pop(camera, None)
            try:
                if camera in self._messages:
                    intrinsics[camera] = intrinsics_from_message(self._messages[camera])
            except ValueError as error:
                self._wrong[camera] = f"{camera}/camera_info: {error}"
        completed = self._calibration.with_intrinsics(intrinsics.get("thermal"), intrinsics.get("rgb"))
        self.registration = Registration(completed)

    def problems(self) -> list[str]:
        """Which camera_info is missing or wrong, in words."""
        missing = [f"registration waits for {c}/camera_info" for c in self.cameras if c not in self._messages]
        return [*self._wrong.values(), *missing]


class Grid(NamedTuple):
    """The pixels of a camera: their number, and the frame in which they look."""

    width: int
    height: int
    frame_id: str


class CameraInfos:
    """The last ``camera_info`` of each camera, and the RGB camera's ``grid``: that of its last image, or of its
    camera_info before one has come; None while neither is known.

    All images that go out are on that grid. Thermal images from a time when it is not known are as their camera has
    taken them. ``outgoing`` is the camera_info for images of the last size; None while there is none, or, in words,
    because of a ``problem``. :meth:`saw` is for images of which ``seen`` says something else.
    """

    def __init__(self) -> None:
        self._last: dict[Stream, Any] = {}
        self._rgb_came = False
        self.grid: Grid | None = None
        self.seen: tuple[object, ...] = ()
        self.outgoing: Any = None
        self.problem = ""

    def take(self, message: Any, camera: Stream) -> None:
        """A ``camera_info`` message; it goes out with the next image."""
        self._last[camera] = message
        if camera == "rgb" and not self._rgb_came:
            self.grid = _possible_grid(*sent_size(message), message.header.frame_id)
        self.seen = ()

    def saw(self, width: int, height: int, frame_id: str, is_thermal: bool, turned: bool) -> None:
        """An image of that size came, to go out; of the thermal camera alone, and turned by the node, or not."""
        self.seen = width, height, frame_id, is_thermal, turned
        if not is_thermal:
            self.grid, self._rgb_came = Grid(width, height, frame_id), True
        last = self._last.get("rgb" if self.grid else "thermal")
        self.outgoing, self.problem = None, ""
        if last and not self.grid and turned:
            self.problem = "of the thermal camera is of the image before thermal.rotate and thermal.flip"
        elif last:
            self.outgoing, self.problem = outgoing_info(last, last.header, (width, height))


def outgoing_info(info: Any, header: Any, size: tuple[int, int]) -> tuple[Any, str]:
    """A ``camera_info`` for an image of that size (width, height): a copy with its header, or None and why not.

    That of a camera which is not calibrated, without a size and with K = 0, gets the size of the image, so that
    subscribers who want both hear something.
    """
    message = copy(info)
    message.header = header
    if not (info.width or info.height or np.any(info.k)):
        message.width, message.height = size
    sizes = [sent_size(message), (message.width, message.height)]  # some drivers give the size as sent
    if size not in sizes:
        return None, "is {}x{}, the image {}x{}".format(*sizes[0], *size)
    if not np.isfinite(np.concatenate([info.k, info.d, info.r, info.p])).all():
        return None, "has numbers that are not finite"
    return message, ""


def _possible_grid(width: int, height: int, frame_id: str) -> Grid | None:
    try:
        check_size(width, height)
    except ValueError:
        return None
    return Grid(width, height, frame_id)


def sent_size(message: Any) -> tuple[int, int]:
    """Width and height of the images as they are sent, from ``sensor_msgs/CameraInfo``: cut to the region of interest,
    then binned."""
    roi = message.roi
    width, height = (roi.width, roi.height) if roi.width and roi.height else (message.width, message.height)
    return width // max(1, message.binning_x), height // max(1, message.binning_y)


def intrinsics_from_message(message: Any) -> Intrinsics:
    """Of the image as it is sent: cut to the region of interest, then binned; ``ValueError`` if they are none.

    ``K`` and ``D`` are of the full image, as ``sensor_msgs/CameraInfo`` says; the image must not be rectified.
    """
    from mmcfusion_ros.fusion.camera import Intrinsics

    matrix = np.array(message.k, dtype=np.float64).reshape(3, 3)
    if not matrix.any():
        raise ValueError("K is zero: the camera is not calibrated")
    roi = message.roi
    x, y = (roi.x_offset, roi.y_offset) if roi.width and roi.height else (0, 0)
    across, down = max(1, message.binning_x), max(1, message.binning_y)
    cut = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])
    bin_ = np.array([[1 / across, 0, 0.5 / across - 0.5], [0, 1 / down, 0.5 / down - 0.5], [0, 0, 1]])
    model, distortion = message.distortion_model, tuple(message.d)
    if model in ("", "none", "pinhole") and not any(distortion):  # as simulators send it
        model, distortion = "plumb_bob", ()
    return Intrinsics(*sent_size(message), bin_ @ cut @ matrix, model, distortion)


def camera_content(message: Any) -> tuple[object, ...]:
    """What a ``CameraInfo`` says of the lens."""
    roi = message.roi
    return (
        (message.width, message.height, message.distortion_model, tuple(message.d), tuple(message.k)),
        (message.binning_x, message.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height),
    )

"""Object detectors that somebody else trained on COCO, from files, as users of a fused image run them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmcfusion_ros.evaluation.detection.found import KINDS, OVERLAP, Detector, Found

COCO_CLASSES = {0: "person", 2: "vehicle", 5: "vehicle", 7: "vehicle"}  # of 80; 2, 5 and 7 are car, bus and truck
LOWEST_SCORE = 0.01
BINS = 8  # in which NanoDet gives a distance
YOLOX_MEAN, YOLOX_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red first, of 1
NANODET_MEAN, NANODET_FACTOR = (103.53, 116.28, 123.675), (0.017429, 0.017507, 0.017125)  # blue first, of 255
SUFFIXES = ".xml (OpenVINO), .onnx, .param (ncnn), .pth and .safetensors (torchvision)"
FORMS = "YOLOv8 and 11 (84 x N), YOLOX (N x 85), NanoDet (cls_pred_stride_S and dis_pred_stride_S)"

Plane = NDArray[np.float32]
Outputs = Mapping[str, Plane]


def load_detector(path: Path, threads: int = 0) -> Detector:
    """A function from an ``H x W x 3`` uint8 image, red first, or an ``H x W`` one, to what is found in it.

    ``path`` is an OpenVINO ``.xml``, an ``.onnx``, an ncnn ``.param`` (with its ``.bin``), or a ``.pth`` or
    ``.safetensors`` file of one of torchvision's own models. Raises ``FileNotFoundError``, or ``ValueError`` naming
    the file if it is no detector or its outputs have none of ``FORMS``. ``threads``: 0 for all cores, with ncnn one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a detector is a file: {SUFFIXES}")
    if path.suffix in (".pth", ".safetensors"):
        from mmcfusion_ros.evaluation.detection.torchvision_models import load_torchvision

        return load_torchvision(path)
    if path.suffix not in (".xml", ".onnx", ".param"):
        raise ValueError(f"{path}: no detector; known are {SUFFIXES}")
    is_ncnn = path.suffix == ".param"
    network = _NcnnNetwork(path, threads) if is_ncnn else _OpenvinoNetwork(path, threads)
    form = _form_of(network.run(np.zeros((3, network.size, network.size), np.float32)), network.size, is_ncnn)
    if not form:
        raise ValueError(f"{path}: outputs of an unknown form; known are {FORMS}, with the 80 classes of COCO")

    def detect(image: np.ndarray) -> Found:
        if image.ndim == 2:
            image = cv2.merge([image] * 3)
        tensor, scale, corner = form.prepare(image, network.size)
        corners, scores = form.decode(network.run(tensor), network.size)
        return _choose((corners - np.tile(corner, 2)) / np.tile(scale, 2), scores, image.shape)

    return detect


@dataclass(frozen=True)
class _Form:
    """``prepare`` makes of an image and a side the input, its scale (x, y) and its place (x, y) there; ``decode`` makes
    of outputs and the side ``N x 4`` corners and ``N x 80`` scores."""

    prepare: Callable[[np.ndarray, int], tuple[Plane, NDArray[np.float64], NDArray[np.float64]]]
    decode: Callable[[Outputs, int], tuple[Plane, Plane]]


def _choose(corners: NDArray[np.float64], scores: Plane, shape: tuple[int, ...]) -> Found:
    """The boxes whose best class is a person or a vehicle, inside an image of this shape."""
    best, highest = scores.argmax(axis=1), scores.max(axis=1)
    wanted = np.isin(best, list(COCO_CLASSES)) & (highest > LOWEST_SCORE)
    kinds = np.array([KINDS.index(COCO_CLASSES[c]) for c in best[wanted]], int)
    inside = corners[wanted].clip(0, (shape[1], shape[0]) * 2)
    return Found(inside, kinds, highest[wanted].astype(np.float64)).suppressed(OVERLAP)


def _form_of(outputs: Outputs, size: int, is_ncnn: bool) -> _Form | None:
    if {re.sub(r"\d+$", "", name) for name in outputs} == {"cls_pred_stride_", "dis_pred_stride_"}:
        return _Form(_prepare_nanodet, _decode_nanodet)
    if len(outputs) != 1:
        return None
    shape = next(iter(outputs.values())).squeeze().shape
    cells = sum((size // stride) ** 2 for stride in (8, 16, 32))
    if shape == (84, cells):
        return _Form(_prepare_yolo, _decode_yolo)
    if shape == (cells, 85):
        return _Form(_prepare_yolox_ncnn if is_ncnn else _prepare_yolox, _decode_yolox)
    return None


def _letterbox(image: np.ndarray, size: int, grey: int, centred: bool) -> tuple[Plane, NDArray, NDArray]:
    """``3 x size x size``, with the image's scale and place."""
    scale = min(size / image.shape[0], size / image.shape[1])
    height, width = round(image.shape[0] * scale), round(image.shape[1] * scale)
    left, top = ((size - width) // 2, (size - height) // 2) if centred else (0, 0)
    canvas = np.full((size, size, 3), grey, np.uint8)
    canvas[top : top + height, left : left + width] = cv2.resize(image, (width, height))
    scales = np.array((width / image.shape[1], height / image.shape[0]))
    return canvas.transpose(2, 0, 1).astype(np.float32), scales, np.array((left, top), float)


def _prepare_yolo(image: np.ndarray, size: int) -> tuple[Plane, NDArray, NDArray]:
    tensor, scale, corner = _letterbox(image, size, 114, centred=True)
    return (tensor / 255).astype(np.float32), scale, corner


def _prepare_yolox(image: np.ndarray, size: int) -> tuple[Plane, NDArray, NDArray]:
    """Blue first, as the authors' ONNX files want it."""
    return _letterbox(image[..., ::-1], size, 114, centred=False)


def _prepare_yolox_ncnn(image: np.ndarray, size: int) -> tuple[Plane, NDArray, NDArray]:
    """Normalised, as the files of ncnn's examples want it."""
    tensor, scale, corner = _letterbox(image, size, 114, centred=False)
    mean, deviation = (np.array(v, np.float32)[:, None, None] for v in (YOLOX_MEAN, YOLOX_DEVIATION))
    return ((tensor / 255 - mean) / deviation).astype(np.float32), scale, corner


def _prepare_nanodet(image: np.ndarray, size: int) -> tuple[Plane, NDArray, NDArray]:
    tensor, scale, corner = _letterbox(image[..., ::-1], size, 0, centred=True)
    mean, factor = (np.array(v, np.float32)[:, None, None] for v in (NANODET_MEAN, NANODET_FACTOR))
    return ((tensor - mean) * factor).astype(np.float32), scale, corner


def _decode_yolo(outputs: Outputs, _size: int) -> tuple[Plane, Plane]:
    """Centres and sizes in pixels, then scores."""
    rows = next(iter(outputs.values())).squeeze().T
    return _corners(rows[:, :2], rows[:, 2:4]), rows[:, 4:]


def _decode_yolox(outputs: Outputs, size: int) -> tuple[Plane, Plane]:
    """Offsets from a cell's corner and logarithms of sizes, both in cells; is there an object; of which class."""
    rows = next(iter(outputs.values())).squeeze()
    cells = np.concatenate([_cells(size, stride) for stride in (8, 16, 32)])
    strides = cells[:, 2:]
    return _corners((rows[:, :2] + cells[:, :2]) * strides, np.exp(rows[:, 2:4]) * strides), rows[:, 4:5] * rows[:, 5:]


def _decode_nanodet(outputs: Outputs, size: int) -> tuple[Plane, Plane]:
    """From the middle of a cell to each of four sides: probabilities of the distances 0, 1, ... 7 cells."""
    corners, scores = [], []
    for name, rows in outputs.items():
        if name.startswith("cls_pred"):
            stride = int(name.rsplit("_", 1)[1])
            bins = np.exp(outputs[f"dis_pred_stride_{stride}"].reshape(-1, 4, BINS))
            distances = (bins / bins.sum(axis=2, keepdims=True)) @ np.arange(BINS, dtype=np.float32) * stride
            middles = (_cells(size, stride)[:, :2] + 0.5) * stride
            corners.append(np.hstack((middles - distances[:, :2], middles + distances[:, 2:])))
            scores.append(rows.reshape(-1, rows.shape[-1]))
    return np.concatenate(corners), np.concatenate(scores)


def _corners(centres: Plane, sizes: Plane) -> Plane:
    return np.hstack((centres - sizes / 2, centres + sizes / 2))


def _cells(size: int, stride: int) -> Plane:
    """Of each cell, row by row: x, y, stride."""
    y, x = np.divmod(np.arange((size // stride) ** 2), size // stride)
    return np.stack((x, y, np.full_like(x, stride)), axis=1).astype(np.float32)


class _OpenvinoNetwork:
    """``size`` is the side of the square input. Reads ONNX as well."""

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(path)
            _, channels, height, width = model.input(0).shape
            if (channels, height) != (3, width):
                raise ValueError(f"its input is {model.input(0).shape}")
            config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
            self._model = core.compile_model(model, "CPU", config)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"{path}: no detector with an input of 1 x 3 x SIDE x SIDE ({reason})") from error
        self.size = int(width)

    def run(self, tensor: Plane) -> Outputs:
        """By name (or number); ``tensor`` is ``3 x size x size``."""
        result = self._model(tensor[None])
        return {min(port.names, default=str(i)): value for i, (port, value) in enumerate(result.items())}


class _NcnnNetwork:
    """``size`` is the side of the square input: 416, unless its ``Input`` layer says otherwise."""

    def __init__(self, path: Path, threads: int) -> None:
        import ncnn

        text = path.read_text(errors="replace")
        # ncnn has no layer YoloV5Focus: the input goes past it, as four images of half the size
        self._focus = "YoloV5Focus" in text
        self._net: Any = ncnn.Net()
        self._net.opt.use_vulkan_compute = False
        self._net.opt.num_threads = threads or 1  # more of them spin, and beside other processes are far slower
        self._ncnn = ncnn
        if self._net.load_param_mem(text.replace("YoloV5Focus", "Noop       ")) or self._net.load_model(
            str(path.with_suffix(".bin"))
        ):
            raise ValueError(
                f"{path}: not an ncnn file, or {path.with_suffix('.bin').name} beside it is not its weights"
            )
        width = re.search(r"^Input\s.* 0=(\d+)", text, re.MULTILINE)
        self.size = int(width[1]) if width else 416
        self._inputs, self._outputs = self._net.input_names(), self._net.output_names()

    def run(self, tensor: Plane) -> Outputs:
        """By name; ``tensor`` is ``3 x size x size``."""
        if self._focus:
            tensor = np.concatenate([tensor[:, y::2, x::2] for x in (0, 1) for y in (0, 1)])
        tensor = np.ascontiguousarray(tensor)
        mat = self._ncnn.Mat(tensor).clone()  # a Mat only points to what it was made of
        extractor = self._net.create_extractor()
        extractor.input(self._inputs[0], mat)
        mats = {name: extractor.extract(name)[1] for name in self._outputs}
        return {name: np.array(output) for name, output in mats.items()}

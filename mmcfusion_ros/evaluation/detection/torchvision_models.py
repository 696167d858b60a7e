"""torchvision's own detection models, from files of their COCO weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torchvision.models import detection, get_model, list_models

from mmcfusion_ros.evaluation.detection.found import KINDS, OVERLAP, Detector, Found

CLASSES = 91  # COCO's own numbers, with gaps
KIND_OF_CLASS = {1: "person", 3: "vehicle", 6: "vehicle", 8: "vehicle"}  # car, bus, truck


def load_torchvision(path: Path) -> Detector:
    """A detector from a state dict whose file has the name that torchvision gives it, such as
    ``ssdlite320_mobilenet_v3_large_coco-a79551df.pth``: that says which model it is.

    Nothing but tensors is read. ``ValueError`` naming the file if the name is no model's or the tensors do not fit.
    """
    name = path.stem.partition("-")[0].removesuffix("_coco")
    known = list_models(detection)
    if name not in known:
        raise ValueError(f"{path}: no name of a detector of torchvision; it must begin with {', '.join(known)}")
    model: Any = get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES)
    try:
        is_torch = path.suffix == ".pth"
        tensors = torch.load(path, "cpu", weights_only=True) if is_torch else safetensors.torch.load_file(path)
        model.load_state_dict(tensors)
    except Exception as error:  # of many kinds, over many lines
        raise ValueError(f"{path}: not the weights of {name} with its {CLASSES} classes of COCO") from error
    model.eval()

    def detect(image: np.ndarray) -> Found:
        planes = np.stack([image] * 3) if image.ndim == 2 else image.transpose(2, 0, 1)
        with torch.inference_mode():
            found = model([torch.from_numpy(np.ascontiguousarray(planes)).float() / 255])[0]
        corners, classes, scores = (found[key].double().numpy() for key in ("boxes", "labels", "scores"))
        wanted = np.isin(classes, list(KIND_OF_CLASS))
        kinds = np.array([KINDS.index(KIND_OF_CLASS[int(number)]) for number in classes[wanted]], int)
        return Found(corners[wanted], kinds, scores[wanted]).suppressed(OVERLAP)

    return detect

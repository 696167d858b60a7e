"""Arrays to image messages."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mmcfusion_ros.stream.messages import wire_pixels


def image_message(image: np.ndarray, encoding: str, header: Header) -> Image:
    """``image`` as a message of that encoding, with unpadded rows; ``header`` is shared, not copied.

    ``rgb8``, ``bgr8`` and ``mono8`` take ``H x W x 3`` uint8, red first, or ``H x W`` uint8, and convert;
    ``mono16`` and ``16UC1`` take ``H x W`` uint16. Anything else raises ``ValueError``.
    """
    pixels = wire_pixels(image, encoding)
    message = Image(header=header, encoding=encoding, step=pixels[0].nbytes)
    message.height, message.width = image.shape[:2]
    message.data.frombytes(pixels.view(np.uint8))
    return message


def compressed_message(image: np.ndarray, header: Header, format: str = "jpeg", quality: int = 90) -> CompressedImage:
    """``image`` as a compressed message, described as compressed_image_transport does; ``header`` is shared.

    ``jpeg`` (``quality`` from 1 to 100) takes ``H x W x 3`` uint8, red first, or ``H x W`` uint8; ``png`` (lossless,
    no quality) takes ``H x W`` uint16 too. Anything else raises ``ValueError``.
    """
    encodings = {("u1", (3,)): "rgb8", ("u1", ()): "mono8", ("u2", ()): "mono16"}
    encoding = encodings.get((image.dtype.str[1:], image.shape[2:]))
    if encoding is None or format not in ("jpeg", "png") or (encoding, format) == ("mono16", "jpeg"):
        raise ValueError(f"a {image.dtype} array of shape {image.shape} cannot be compressed as {format!r}")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if format == "jpeg" else []
    colour = encoding == "rgb8"
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colour else image
    message = CompressedImage(header=header, format=f"{encoding}; {format} compressed {'bgr8' if colour else ''}")
    message.data.frombytes(cv2.imencode(f".{format}", pixels, options)[1])
    return message

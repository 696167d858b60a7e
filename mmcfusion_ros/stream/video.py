"""Video streams: the pictures of H.264 and HEVC packets in order, without those that a lost packet has spoilt."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Any

from mmcfusion_ros.stream.messages import BadImage, plain_image
from mmcfusion_ros.stream.pairing import Stream, stamp_ns

CODECS = {"264": "h264", "avc": "h264", "265": "hevc", "hevc": "hevc"}
INSTALL = "pip install av"
STEPS_LEARNT, FEWEST_STEPS = 15, 5
LOST = 1.6  # usual steps of the stamps, from one packet to the next, that a lost one leaves


def codec_of(message: Any) -> str:
    """``h264``, ``hevc``, or empty for an image, by the ``format`` or ``encoding`` of a message: ``h264`` of a
    CompressedImage (Isaac ROS) or CompressedVideo, ``libx264`` or ``hevc;yuv420p;bgr8`` of an FFMPEGPacket."""
    name = (message.format if hasattr(message, "format") else message.encoding).partition(";")[0].lower()
    return next((codec for part, codec in CODECS.items() if part in name), "")


class VideoDecoder:
    """The pictures of one camera, whose messages must all come here, in order.

    After a lost packet, a damaged one or a change of codec nothing is right until the next key frame. libav does not
    tell of lost packets, and gives spoilt pictures: they are known by a gap in the stamps. So those must rise from
    packet to packet, as live streams have them, which are without B-frames.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream: Stream = stream
        self._codec = ""
        self._context: Any = None
        self._headers: dict[int, Any] = {}  # of packets whose pictures are not out, by stamp
        self._last_ns = 0
        self._steps_ns: deque[int] = deque(maxlen=STEPS_LEARNT)
        self._awaits_key = True

    def __call__(self, message: Any) -> list[Any]:
        """Messages that are images are given back. A packet gives the pictures that are complete with it, mostly its
        own one, as ``rgb8`` images (``mono8`` of a thermal camera) with the headers of their packets.

        Raises ``BadImage`` with reason ``no_key_frame`` for a picture that hangs on one that is lost, ``bad_data`` for
        a damaged packet, ``bad_encoding`` without PyAV.
        """
        codec = codec_of(message)
        if not codec:
            return [message]
        if codec != self._codec:
            self._context, self._codec, self._awaits_key = self._open(codec), codec, True
        time_ns = stamp_ns(message)
        self._note(time_ns)
        self._headers[time_ns] = message.header
        import av

        packet = av.Packet(bytes(message.data))
        packet.pts = time_ns
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError as error:
            self._headers.clear()
            self._awaits_key = True
            raise BadImage("bad_data", f"a packet of {codec} cannot be decoded: {error}", self._stream) from error
        pictures = [self._image(frame) for frame in frames if self._is_right(frame)]
        if self._awaits_key:
            text = f"a picture of {codec} hangs on one that is lost: a key frame is awaited"
            raise BadImage("no_key_frame", text, self._stream)
        return pictures

    def _open(self, codec: str) -> Any:
        try:
            import av
        except ImportError as error:
            raise BadImage("bad_encoding", f"video of {codec} needs PyAV: {INSTALL}", self._stream) from error
        context = av.CodecContext.create(codec, "r")
        context.flags |= av.codec.context.Flags.low_delay
        context.thread_count = 1  # more of them would each hold back a picture
        return context

    def _note(self, time_ns: int) -> None:
        step_ns, self._last_ns = time_ns - self._last_ns, time_ns
        known = len(self._steps_ns) >= FEWEST_STEPS
        if step_ns <= 0 or (known and step_ns > LOST * median(self._steps_ns)):
            self._awaits_key = True
            self._headers.clear()
        if step_ns > 0:
            self._steps_ns.append(step_ns)

    def _is_right(self, frame: Any) -> bool:
        self._awaits_key = self._awaits_key and not frame.key_frame
        return not self._awaits_key

    def _image(self, frame: Any) -> Any:
        grey, header = self._stream == "thermal", self._headers[frame.pts]
        self._headers = {time_ns: header for time_ns, header in self._headers.items() if time_ns > frame.pts}
        pixels = frame.to_ndarray(format="gray" if grey else "rgb24")
        return plain_image(pixels, "mono8" if grey else "rgb8", header)

"""The network through OpenVINO, on the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mmcfusion_ros.fusion.errors import BackendError, FusionError, one_line
from mmcfusion_ros.fusion.model_cache import entries, filling_cache, open_cache, seal_cache
from mmcfusion_ros.fusion.models import ModelFiles
from mmcfusion_ros.network.hashes import verify_hash
from mmcfusion_ros.network.metadata import Metadata

# openvino also imports its model converter, which has a telemetry client told of every start: a tenth of a second and
# 16 MB. Where it cannot, it goes without. What converts a model imports the converter itself.
CONVERTER = "openvino.tools.ovc"
sys.modules.setdefault(CONVERTER, None)  # type: ignore[arg-type]
import openvino  # noqa: E402

if sys.modules[CONVERTER] is None:
    del sys.modules[CONVERTER]

COMPILED_SIZES = 4
OPENVINO_NAMES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
CAPABILITIES = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}


class OpenVINOBackend:
    """Compiles the graph once per size; OpenVINO caches the result on disk by graph, size and precision."""

    name = "openvino"
    device = "CPU"

    def __init__(self, model: ModelFiles, precision: str = "auto", threads: int = 0) -> None:
        self._core = openvino.Core()
        # A mapped file that is truncated while the node runs would end the process with SIGBUS.
        self._core.set_property({"ENABLE_MMAP": False})
        self.warning = ""
        self._cache: Path | None = None
        try:
            self._cache = open_cache()
            self._core.set_property({"CACHE_DIR": str(self._cache)})
        except OSError as error:
            self._warn(error)
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "auto":
            precision = "bfloat16" if "BF16" in capabilities else "float32"
        if CAPABILITIES[precision] not in capabilities:
            raise BackendError(f"this processor has no {precision} in OpenVINO; use precision 'auto' or 'float32'")
        self.precision = precision
        self._threads = threads
        self._graph = self._read(model)
        names = ("variant", "graph", "thermal_polarity")
        paths = {name: ["mmcfusion", name] for name in names if self._graph.has_rt_info(["mmcfusion", name])}
        texts = {name: self._graph.get_rt_info(path).astype(str) for name, path in paths.items()}
        metadata = Metadata.parse(texts, model.openvino)
        self.variant, self.thermal_polarity = metadata.variant, metadata.thermal_polarity
        # OpenVINO's cache tells graphs apart, not precisions: one compiled for the other gives wrong images.
        self._graph.set_rt_info(precision, ["mmcfusion", "precision"])
        self._requests: dict[tuple[int, int], openvino.InferRequest] = {}

    def _read(self, model: ModelFiles) -> openvino.Model:
        if model.openvino is None:
            assert model.safetensors is not None
            from mmcfusion_ros.network.export import openvino_graph

            return openvino_graph(model.safetensors)
        for file in (model.openvino, model.openvino.with_suffix(".bin")):
            if not file.is_file():
                raise FileNotFoundError(f"{file} is missing; an OpenVINO model is an .xml and a .bin file")
            verify_hash(file)
        try:
            return self._core.read_model(model.openvino)
        except RuntimeError as error:
            raise ValueError(f"{model.openvino} is not a readable OpenVINO model: {one_line(error)}") from error

    def __call__(self, thermal: np.ndarray, luminance: np.ndarray) -> np.ndarray:
        """Two ``H x W`` uint8 images to the fused one; ``FusionError`` if OpenVINO fails."""
        try:
            request = self._requests.get(thermal.shape) or self._compile(thermal.shape)
            inputs = [np.ascontiguousarray(image)[None, None] for image in (thermal, luminance)]
            return request.infer(inputs, share_inputs=True)[0][0, 0]
        except RuntimeError as error:
            raise FusionError(
                f"OpenVINO failed on a frame of {thermal.shape[1]}x{thermal.shape[0]}: {one_line(error)}"
            ) from error

    def _compile(self, shape: tuple[int, int]) -> openvino.InferRequest:
        self._graph.reshape({port: [1, 1, *shape] for port in self._graph.inputs})
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": OPENVINO_NAMES[self.precision],
            "INFERENCE_NUM_THREADS": self._threads,
        }
        if len(self._requests) == COMPILED_SIZES:
            del self._requests[next(iter(self._requests))]
        with filling_cache(self._cache):
            before = entries(self._cache) if self._cache else {}
            compiled = self._core.compile_model(self._graph, "CPU", options)
            try:
                if self._cache:
                    self._keep(self._cache, before, compiled.get_property("LOADED_FROM_CACHE"))
            except OSError as error:
                self._warn(error)
        self._requests[shape] = compiled.create_infer_request()
        return self._requests[shape]

    def _keep(self, cache: Path, before: dict[str, int], was_loaded: bool) -> None:
        """OpenVINO says nothing if it cannot write."""
        if not was_loaded and entries(cache) == before:
            raise OSError(f"nothing was written to {cache}; is its disk full?")
        seal_cache(cache)

    def _warn(self, error: OSError) -> None:
        reason = "other networks are being compiled there" if isinstance(error, BlockingIOError) else one_line(error)
        self.warning = (
            f"the compiled network is not kept, so the next start takes longer: {reason}; "
            "XDG_CACHE_HOME names the folder of the cache"
        )

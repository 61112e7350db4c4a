"""Who makes the programs that inference.py compares: of our network, and of PyTorch's."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmark.inference_sides import CONFIG, DEPLOYMENT, EXPECTED, TORCH_WEIGHTS, WEIGHTS, Network, need, torch_network
from benchmark.processes import reason, serve
from video_zoo.utils.runtime import compute_threads

_SPREAD = {"scale": (0.5, 1.0), "variance": (0.5, 1.5), "offset": (-0.1, 0.1), "mean": (-0.1, 0.1)}
_LOGITS = 3.0  # deviation of random weights' logits: probabilities that differ
_OPSET = 17


class Maker:
    """Makes our checkpoint, our deployment folder, and PyTorch's weights."""

    def __init__(self) -> None:
        from video_zoo.utils.runtime import start_paddle

        self._on_gpu = start_paddle(None)
        import paddle

        device = paddle.device.cuda.get_device_name() if self._on_gpu else f"{compute_threads()} threads"
        self.hello = {"versions": f"Paddle {paddle.__version__}", "device": device, "gpu": self._on_gpu}

    def make(self, network: dict[str, Any], folder: str, weights: str | None, videos: list[str]) -> dict[str, Any]:
        """Fills the folder, which holds the config.

        Args:
            weights: as --weights takes them; None: random ones.
            videos: to calibrate int8 with; none: there is no int8 program.

        Returns: {"missing": {kind of program or "int8": why it was not made}}.
        """
        from video_zoo.configs.schema import Config
        from video_zoo.engine.backends.paddle_network import PaddleNetwork
        from video_zoo.models import get_model, get_trained
        from video_zoo.utils.config import load
        from video_zoo.utils.fluid_vars import write_folder

        base, clips = Path(folder), Network(**network).clips()
        settings = load(str(base / CONFIG), Config)
        if weights:
            layers, _ = get_trained("TSM", settings, "infer", weights)
        else:
            layers = get_model("TSM", settings, "infer")
            _draw_weights(layers, clips[:1])
        variables = {name: tensor.numpy() for name, tensor in layers.variables().items()}
        (base / WEIGHTS).mkdir()
        write_folder(base / WEIGHTS, variables)
        np.savez(base / TORCH_WEIGHTS, **_torch_direction(variables, Network(**network)))
        np.save(base / EXPECTED, PaddleNetwork(layers)(clips))
        return {"missing": self._deploy(layers, settings, base / DEPLOYMENT, videos)}

    def _deploy(self, layers: Any, settings: Any, folder: Path, videos: list[str]) -> dict[str, str]:
        """Writes the deployment folder as export.py does, but for its comparison of real clips."""
        from video_zoo.datareader.labels import names_of, write_class_names
        from video_zoo.engine import deployment
        from video_zoo.engine.export import quantize_openvino, write_program
        from video_zoo.utils.config import write

        folder.mkdir()
        programs: dict[str, dict[str, str]] = {}
        missing: dict[str, str] = {}
        for kind, files in deployment.PROGRAMS.items():
            try:
                need(deployment.missing_converters(kind))
                write_program(kind, layers, settings.clip_shape("infer"), folder / files["fp32"])
                programs[kind] = {"fp32": files["fp32"]}
            except Exception as error:  # the others can be compared all the same
                missing[kind] = reason(error)
        try:
            if videos and "openvino" in programs:
                need(deployment.missing_converters("int8"))
                source, file = (deployment.PROGRAMS["openvino"][precision] for precision in ("fp32", "int8"))
                quantize_openvino(folder / source, _calibration_clips(settings, videos), folder / file)
                programs["openvino"]["int8"] = file
        except Exception as error:
            missing["int8"] = reason(error)
        names = names_of(settings.MODEL)
        deployment.Deployment(folder, "TSM", names, settings.clip_shape("infer"), programs).write()
        model = replace(settings.MODEL, class_names=None)  # inference.yaml has them
        write(folder / deployment.CONFIG, replace(settings, MODEL=model), "What benchmark/inference.py was given.")
        write_class_names(folder / deployment.LABELS, names)
        return missing


def _draw_weights(layers: Any, clip: np.ndarray) -> None:
    """Random weights, with a last layer whose probabilities are not all alike."""
    import paddle

    rng = np.random.default_rng(0)
    for name, tensor in layers.variables().items():
        spread = next((spread for end, spread in _SPREAD.items() if name.endswith(f"_{end}")), None)
        if spread:
            tensor.set_value(rng.uniform(*spread, tensor.shape).astype(np.float32))
    layers.eval()
    with paddle.no_grad():
        deviation = float(layers(paddle.to_tensor(clip)).numpy().std())
    weight = layers.fc.weight
    weight.set_value(weight.numpy() * np.float32(_LOGITS / deviation))


def _torch_direction(variables: dict[str, np.ndarray], network: Network) -> dict[str, np.ndarray]:
    """The same network's weights, for a shift that takes the first eighth of the channels from frame t+1."""
    from video_zoo.models.torch_weights import exchange_folds
    from video_zoo.models.weight_layouts import LAYOUTS, tensors_of
    from video_zoo.models.weight_layouts import Network as Layers

    sizes = (network.num_layers, network.classes, network.base_width)
    exchanged = dict(variables)
    for tensor in tensors_of(Layers("TSM", *sizes), LAYOUTS["mit"]):
        for axis in tensor.stream_axes:
            exchanged[tensor.ours] = exchange_folds(exchanged[tensor.ours], axis)
    return exchanged


def _calibration_clips(settings: Any, videos: list[str]) -> list[np.ndarray]:
    """uint8 (1, T, C, H, W) each: the videos' clips, and the same twice as dark."""
    from video_zoo.datareader import open_reader
    from video_zoo.datareader.video_list import Video

    with open_reader("infer", settings, videos=[Video(path, None, 1) for path in videos]) as reader:
        clips = [batch.clips[:1] for batch in reader]
    return clips + [clip // 2 for clip in clips]


class Converter:
    """Makes programs of PyTorch's network: ONNX, OpenVINO, and OpenVINO's int8 where NNCF is."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        self.hello = {"versions": f"PyTorch {torch.__version__}"}

    def convert(self, network: dict[str, Any], folder: str, form: str) -> dict[str, Any]:
        """Writes FORM.onnx, FORM_fp32.xml and FORM_int8.xml. {"missing": {ending: why}}."""
        base, shape = Path(folder), Network(**network)
        layers = torch_network(shape, base / TORCH_WEIGHTS, form)
        jobs = {"onnx": self._onnx, "fp32.xml": self._openvino, "int8.xml": self._int8}
        missing = {}
        for ending, job in jobs.items():
            try:
                with warnings.catch_warnings(), self._torch.no_grad():
                    warnings.simplefilter("ignore")
                    job(layers, shape.clips(), base / f"torch_{form}_{ending}")
            except Exception as error:  # whatever an exporter raises
                missing[ending] = reason(error)
        return {"missing": missing}

    def _onnx(self, layers: Any, clips: np.ndarray, path: Path) -> None:
        names = {"input_names": ["clips"], "output_names": ["probabilities"]}
        example = (self._torch.from_numpy(clips),)
        self._torch.onnx.export(layers, example, str(path), opset_version=_OPSET, dynamo=False, **names)

    def _openvino(self, layers: Any, clips: np.ndarray, path: Path) -> None:
        import openvino as ov

        one = clips[:1]  # as ours, it computes clip after clip
        model = ov.convert_model(layers, example_input=self._torch.from_numpy(one))
        model.reshape(list(one.shape))
        ov.save_model(model, path, compress_to_fp16=False)

    def _int8(self, layers: Any, clips: np.ndarray, path: Path) -> None:
        import nncf
        import openvino as ov

        model = ov.Core().read_model(path.with_name(path.name.replace("int8", "fp32")))
        preset = nncf.QuantizationPreset.MIXED
        ov.save_model(nncf.quantize(model, nncf.Dataset([clips[:1]]), subset_size=1, preset=preset), path)


if __name__ == "__main__":
    serve({"maker": Maker, "converter": Converter})

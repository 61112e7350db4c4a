"""The sides of inference.py, each in a process of its own: who makes programs, who runs them, and a plain loop."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from harness import Shape, TimedSide, reason, serve
from pairs import load_settings, our_network, save_pair, softmax, torch_network

from video_zoo.utils.runtime import compute_threads

# In the folder that all sides share.
CONFIG, CHECKPOINT, DEPLOYMENT, CALIBRATION = "config.yaml", "checkpoint", "deployment", "calibration.npy"
ONNX, FP32, INT8 = "onnx", "fp32.xml", "int8.xml"  # endings of the programs made of PyTorch's network
_OPSET = 17


def start_paddle() -> None:
    """On the CPU."""
    from video_zoo.utils import paddle_env

    paddle_env.start_paddle(False)


class Ours:
    """Makes our checkpoint, our deployment folder, and what PyTorch's side is given."""

    def __init__(self) -> None:
        start_paddle()

    def make(self, shape: dict[str, Any], folder: str, videos: list[str]) -> dict[str, Any]:
        """Fills the folder. Returns {"missing": {kind of program or "int8": why it was not made}}."""
        from video_zoo.utils.config import write
        from video_zoo.utils.fluid_vars import write_folder

        base, self._shape = Path(folder), Shape(**shape)
        self._settings = load_settings(self._shape, {"INFER": {"batch_size": 1}})
        write(base / CONFIG, self._settings, "What benchmark/inference.py was given.")
        clips = self._read_clips(videos)
        np.save(base / CALIBRATION, np.concatenate([clips, clips // 2]))  # and as dark ones
        mirrored = np.ascontiguousarray(clips[:1, ..., ::-1])  # nothing was calibrated with it
        network = our_network(self._settings, "infer")
        variables = save_pair(network, self._shape.model, mirrored, base)
        (base / CHECKPOINT).mkdir()
        write_folder(base / CHECKPOINT, variables)
        (base / DEPLOYMENT).mkdir()
        return {"missing": self._deploy(network, base)}

    def _read_clips(self, videos: list[str]) -> np.ndarray:
        """uint8 (n, T, 3, H, W), one of each video."""
        from video_zoo.datareader import open_reader
        from video_zoo.datareader.video_list import Video

        listed = [Video(path, None, 1) for path in videos]
        with open_reader("infer", self._settings, videos=listed) as reader:
            return np.concatenate([batch.clips for batch in reader])

    def _deploy(self, network: Any, base: Path) -> dict[str, str]:
        """Writes the deployment folder as export.py does, without its comparison, which random weights may fail."""
        from video_zoo.datareader.labels import names_of, write_class_names
        from video_zoo.engine import deployment
        from video_zoo.engine.backends.base import INPUT
        from video_zoo.engine.programs import PROGRAMS, write_program
        from video_zoo.utils.config import write

        folder, shape = base / DEPLOYMENT, self._settings.clip_shape("infer")
        programs: dict[str, dict[str, str]] = {}
        missing: dict[str, str] = {}
        for kind, precision, file in [(kind, *pair) for kind, each in PROGRAMS.items() for pair in each.files.items()]:
            if precision == "fp16":  # for GPUs
                continue
            try:
                if precision == "int8":
                    clips = np.load(base / CALIBRATION)[:, None]
                    samples = [{INPUT: clip} for clip in clips]
                    PROGRAMS[kind].quantize(folder / programs[kind]["fp32"], samples, folder / file)
                else:
                    write_program(kind, network, shape, folder / file)
                programs.setdefault(kind, {})[precision] = file
            except Exception as error:  # the others can be compared all the same
                missing["int8" if precision == "int8" else kind] = reason(error)
        names = names_of(self._settings.MODEL)
        deployment.Deployment(folder, self._shape.model, names, shape, programs).write()
        write(folder / deployment.CONFIG, self._settings, "What benchmark/inference.py was given.")
        write_class_names(folder / deployment.LABELS, names)
        return missing


class Theirs:
    """Makes programs of PyTorch's network: ONNX, OpenVINO, and OpenVINO's int8 where NNCF is."""

    def make(self, shape: dict[str, Any], folder: str, form: str) -> dict[str, Any]:
        """Writes torch_FORM_ENDING. Returns {"missing": {ending: why}}."""
        import torch

        base, missing = Path(folder), {}
        layers = torch.nn.Sequential(torch_network(Shape(**shape), form, folder=base), torch.nn.Softmax(1)).eval()
        clips = torch.from_numpy(np.load(base / "clips.npy"))
        for ending, job in ((ONNX, self._onnx), (FP32, self._openvino), (INT8, self._int8)):
            try:
                with warnings.catch_warnings(), torch.no_grad():
                    warnings.simplefilter("ignore")
                    job(layers, clips, base / f"torch_{form}_{ending}")
            except Exception as error:  # whatever an exporter raises
                missing[ending] = reason(error)
        return {"missing": missing}

    def _onnx(self, layers: Any, clips: Any, path: Path) -> None:
        import torch

        names = {"input_names": ["clips"], "output_names": ["probabilities"]}
        torch.onnx.export(layers, (clips,), str(path), opset_version=_OPSET, dynamo=False, **names)

    def _openvino(self, layers: Any, clips: Any, path: Path) -> None:
        import openvino as ov

        model = ov.convert_model(layers, example_input=clips[:1])  # as ours, it computes clip after clip
        model.reshape([1, *clips.shape[1:]])
        model.input(0).set_names({"clips"})
        ov.save_model(model, path, compress_to_fp16=False)

    def _int8(self, layers: Any, clips: Any, path: Path) -> None:
        """Calibrated with the clips that ours is calibrated with, and with the same parameters."""
        import nncf
        import openvino as ov

        model, chosen = ov.Core().read_model(str(path).replace(INT8, FP32)), np.load(path.parent / CALIBRATION)[:, None]
        options = {
            "subset_size": len(chosen),
            "preset": nncf.QuantizationPreset.MIXED,
            "advanced_parameters": nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        }
        ov.save_model(nncf.quantize(model, nncf.Dataset([*chosen]), **options), path)


class Runner(TimedSide):
    """Computes probabilities of the folder's clips again and again. Subclasses have `open`, which returns a function,
    clips -> probabilities, and what it is."""

    def prepare(self, shape: dict[str, Any], folder: str, **way: Any) -> dict[str, Any]:
        """{"difference": the largest of a probability from our dynamic network's, "what": computes}."""
        clips = np.load(f"{folder}/clips.npy")
        compute, what = self.open(Shape(**shape), Path(folder), **way)
        self.call = lambda: compute(clips)
        difference = np.abs(self.call() - softmax(np.load(f"{folder}/logits.npy"))).max()
        return {"difference": float(difference), "what": what}


class EngineRunner(Runner):
    """A program in one of our engines, whoever made it; or our network in Paddle."""

    def open(self, shape: Shape, folder: Path, engine: str, precision: str, program: str | None) -> tuple[Any, str]:
        if engine.startswith("paddle"):
            start_paddle()
        if program is None:
            from video_zoo.configs.schema import Config
            from video_zoo.engine.backends.paddle_network import PaddleNetwork
            from video_zoo.models import MODELS, load_trained
            from video_zoo.utils import cli, config

            settings = config.load(str(folder / CONFIG), Config, models=cli.model_sections(MODELS))
            network, _ = load_trained(settings, "infer", folder / CHECKPOINT)
            backend = PaddleNetwork(network, compute_threads())
        else:
            backend = open_engine(engine, program, precision, shape)
        return backend, backend.description.split(",")[0]


def open_engine(engine: str, program: str, precision: str, shape: Shape) -> Any:
    """A program in one of the project's engines."""
    from video_zoo.engine.backends import ENGINES
    from video_zoo.engine.backends.base import Job

    clip = (shape.segments, 3, shape.size, shape.size)
    return ENGINES.get(engine).load(Job(Path(program), precision, False, compute_threads(), shape.batch, clip))


class TorchRunner(Runner):
    """PyTorch's network, as it is or compiled."""

    def open(self, shape: Shape, folder: Path, form: str, compiled: bool, channels_last: bool) -> tuple[Any, str]:
        import torch

        torch.set_num_threads(compute_threads())
        layers = torch_network(shape, form, channels_last, folder).eval()
        if compiled:
            import torch._inductor.config as inductor

            inductor.freezing = True  # weights become constants, BatchNorm goes into the convolutions
            layers = torch.compile(layers)

        def compute(clips: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return layers(torch.from_numpy(clips)).softmax(1).numpy()

        return compute, f"PyTorch {torch.__version__}"


class PlainLoop:
    """What one writes in an afternoon: decord2 reads the frames, Pillow scales them, an OpenVINO program computes, one
    video after the other."""

    def start(self, shape: dict[str, Any], program: str, precision: str, labels: str) -> dict[str, Any]:
        self._shape = Shape(**shape)
        self._compute = open_engine("openvino", program, precision, self._shape)
        lines = Path(labels).read_text(encoding="utf-8").splitlines()
        self._names = [line.rsplit(" ", 1)[0] for line in lines]
        return {}

    def turn(self, videos: list[str]) -> dict[str, Any]:
        """{"seconds", "top": of each video, [path, class, probability]}."""
        from decord import VideoReader, cpu

        segments, tops, start = self._shape.segments, [], time.perf_counter()
        for path in videos:
            video = VideoReader(path, ctx=cpu(0))
            length = len(video) // segments
            frames = video.get_batch([part * length + (length - 1) // 2 for part in range(segments)]).asnumpy()
            probabilities = self._compute(np.stack([self._scaled(frame) for frame in frames])[None])[0]
            best = np.argsort(-probabilities)[:5]
            print(path, *(f"{100 * probabilities[each]:6.2f}%  {self._names[each]}" for each in best), sep="\n  ")
            tops.append((path, int(best[0]), float(probabilities[best[0]])))
        return {"seconds": time.perf_counter() - start, "top": tops}

    def _scaled(self, frame: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) -> (3, size, size): v1.5's scaling, and the middle."""
        from PIL import Image

        image, size = Image.fromarray(frame), self._shape.size
        short = round(size * 256 / 224)
        if min(image.size) != short:
            sizes = (short * 4 // 3, short)
            image = image.resize(sizes if image.width >= image.height else sizes[::-1], Image.Resampling.BILINEAR)
        left, top = (round((side - size) / 2) for side in image.size)
        return np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


if __name__ == "__main__":
    sides = {"ours": Ours, "theirs": Theirs, "engine": EngineRunner, "torch": TorchRunner, "plain": PlainLoop}
    serve(sides)

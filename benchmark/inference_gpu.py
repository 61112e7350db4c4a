"""The ONNX programs of deployment folders on an NVIDIA GPU, beside PyTorch's networks; Paddle is not needed.

    python export.py --weights=... --input clips/ --programs onnx --fp16=True      (anywhere: a GPU is not needed)
    python benchmark/inference_gpu.py exported/TSM exported/R2PLUS1D exported/ONLINE --compile exported/TSM

It takes torch for CUDA and "onnxruntime-gpu[cuda,cudnn]". The folders' networks may be any that have a peer in
torch_tsm.py, torch_clips.py or torch_stream.py; a folder that follows streams is measured frame by frame, its state
going from one to the next. All methods of a folder take turns, one number of clips (or streams) after the other.
Figures are medians of the rounds' medians, from clips in main memory to probabilities there. Two columns say by how
much our probabilities differ from those of the float32 program on the CPU, and of how many clips the first class is
the same; float32 that differs by more than 1e-4 ends the run. PyTorch's networks have other weights of the same shapes.
--use_gpu=False tries the script on a CPU, with what can run there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
import torch_clips
from harness import Shape, TimedSide, machine, print_table
from pairs import softmax, torch_network
from torch_stream import StreamNetwork
from zoo_networks import torch_network as zoo_network

from video_zoo.configs.schema import Config
from video_zoo.engine.backends.base import Job
from video_zoo.engine.backends.onnx_runtime import OnnxRuntime
from video_zoo.engine.deployment import CONFIG, Deployment
from video_zoo.engine.parity import LARGEST
from video_zoo.engine.streams import Streams
from video_zoo.models import MODELS
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import compute_threads

SIZES = (1, 8, 16)
COMPARED = 4  # clips, or streams
_FRAMES = 8  # of a stream that are compared
Method = Callable[[np.ndarray], np.ndarray]  # uint8 clips (n, T, 3, H, W), or frames (n, 3, H, W) -> probabilities


def ours(deployment: Deployment, precision: str, on_gpu: bool, most: int) -> Method:
    """As --engine=onnxruntime runs it; of streams, each call goes on with the states of the last."""
    job = Job(deployment.program("onnx", precision), precision, on_gpu, compute_threads(), most, state=deployment.state)
    if not deployment.state:
        return OnnxRuntime(job)
    job = Job(**{**vars(job), "clip_shape": deployment.shape})
    streams = Streams(OnnxRuntime(job), deployment.state, deployment.shape)
    return lambda frames: softmax(np.array([*streams.step(dict(enumerate(frames))).values()]))


def our_methods(deployment: Deployment, on_gpu: bool) -> dict[str, Method]:
    """Ours, in the precisions that the folder has programs for."""
    wanted = ("fp32", "tf32", "fp16") if on_gpu else ("fp32", "fp16")
    there = [each for each in wanted if deployment.program("onnx", each) is not None]
    return {f"ours, --precision={each}": ours(deployment, each, on_gpu, max(SIZES)) for each in there}


def torch_peer(deployment: Deployment, channels_last: bool) -> torch.nn.Module:
    """PyTorch's network of a folder's. Raises InputError: there is none."""
    model = config.load(str(deployment.folder / CONFIG), Config, models=cli.model_sections(MODELS)).MODEL
    classes, name = len(deployment.names), model.name.lower()
    if deployment.state:
        sizes = (
            {} if model.backbone == "mobilenet_v2" else {"num_layers": model.num_layers, "base_width": model.base_width}
        )
        network: torch.nn.Module = StreamNetwork(model.backbone, classes=classes, **sizes)
    elif name in ("tsm", "tsn"):
        segments, _, size, _ = deployment.shape
        shape = Shape(deployment.model, model.num_layers, model.base_width, segments, size, classes)
        return torch_network(shape, "published", channels_last)
    else:
        peers = {"i3d": "i3d", "s3d": "s3d", "i3dresnet50": "i3d_r50"}
        peers["p3d"] = f"p3d{getattr(model, 'num_layers', '')}"
        peers["r2plus1d"] = f"{getattr(model, 'form', '')}_{getattr(model, 'num_layers', '')}"
        if name not in peers:
            raise InputError(f"{deployment.folder}: PyTorch's network of {name.upper()} is not in benchmark/")
        network = zoo_network(peers[name], "published")
    return torch_clips.channels_last(network) if channels_last else network


def torch_methods(deployment: Deployment, on_gpu: bool, compiled: bool) -> dict[str, Method]:
    """Eager, in both memory formats; with `compiled` also that, with CUDA graphs."""
    precisions = {"float32": (False, False), "TF32": (True, False), "autocast float16": (True, True)}
    methods: dict[str, Method] = {}
    for title, form in (("", False), (", channels-last", True)):
        network = torch_peer(deployment, form).eval().to("cuda" if on_gpu else "cpu")
        for graphs in (False, True) if form and compiled else (False,):
            called = torch.compile(network, dynamic=False, mode="reduce-overhead") if graphs else network
            for name, flags in precisions.items() if on_gpu else [("float32", (False, False))]:
                title_of_all = f"PyTorch {'compiled' if graphs else 'eager'}, {name}{title}"
                state = network.initial_state if deployment.state else None
                methods[title_of_all] = torch_method(called, state, on_gpu, *flags)
    return methods


def torch_method(
    network: Callable[..., Any], initial_state: Callable | None, on_gpu: bool, tf32: bool, half: bool
) -> Method:
    device, states = "cuda" if on_gpu else "cpu", {}  # the states by the number of streams

    def follow(frames: torch.Tensor) -> torch.Tensor:
        if len(frames) not in states:
            states[len(frames)] = initial_state(len(frames), frames.shape[-1])
        logits, state = network(frames, states[len(frames)])
        states[len(frames)] = [each.clone() for each in state]  # a CUDA graph writes again where they are
        return logits

    def run(clips: np.ndarray) -> np.ndarray:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        with torch.inference_mode(), torch.autocast(device, torch.float16, enabled=half):
            given = torch.from_numpy(clips).to(device)
            logits = network(given) if initial_state is None else follow(given)
            return logits.float().softmax(1).cpu().numpy()

    return run


def measure(methods: dict[str, Method], clips: np.ndarray, rounds: int, turn_s: float) -> dict[str, float | str]:
    """Milliseconds of each method, or why it failed."""
    found: dict[str, float | str] = {}
    timers: dict[str, TimedSide] = {}
    for name, method in methods.items():
        timer = TimedSide()
        timer.call, timer.turn_s = lambda method=method: method(clips), turn_s
        try:
            for _ in range(3):  # compiles, chooses algorithms, records graphs
                timer.call()
            timers[name] = timer
        except Exception as error:  # torch.compile's own classes, as without a compiler
            found[name] = f"left out: {type(error).__name__}"
    turns = [{name: timer.turn()["ms"] for name, timer in timers.items()} for _ in range(rounds)]
    return {**found, **{name: median(turn[name] for turn in turns) for name in timers}}


def compare(deployment: Deployment, on_gpu: bool) -> dict[str, tuple[str, str]]:
    """Method of ours -> the largest difference of a probability from the CPU's, and how many first classes agree.

    Raises InputError: float32 differs.
    """
    steps = _FRAMES if deployment.state else 1
    clips = draw((steps * COMPARED, *deployment.shape)).reshape(steps, COMPARED, *deployment.shape)
    reference = ours(deployment, "fp32", False, COMPARED)
    expected = np.concatenate([reference(each) for each in clips])
    found = {}
    for name, method in our_methods(deployment, on_gpu).items():
        got = np.concatenate([method(each) for each in clips])
        difference, same = float(np.abs(got - expected).max()), int((got.argmax(1) == expected.argmax(1)).sum())
        if name == "ours, --precision=fp32" and not difference <= LARGEST:
            raise InputError(f"{deployment.folder}: float32 differs from the CPU's by {difference:.1e}")
        found[name] = (f"{difference:.1e}", f"{same} of {len(got)}")
    return found


def draw(shape: tuple[int, ...]) -> np.ndarray:
    """uint8 images (..., 3, H, W) of large squares with noise, drawn from a seed."""
    rng, (height, width) = np.random.default_rng(0), shape[-2:]
    coarse = rng.integers(0, 256, (*shape[:-2], -(-height // 56), -(-width // 56)))
    squares = coarse.repeat(56, -2)[..., :height, :].repeat(56, -1)[..., :width]
    return np.clip(squares + rng.integers(-20, 21, shape), 0, 255).astype(np.uint8)


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="deployment folders with model.onnx")
    parser.add_argument("--compile", nargs="*", type=Path, default=[], metavar="FOLDER", help="torch.compile, too")
    parser.add_argument("--rounds", type=cli.positive_int, default=3, metavar="N", help="(3)")
    parser.add_argument("--turn_s", type=cli.positive_seconds, default=1.0, metavar="S", help="of a method (1)")
    parser.add_argument("--use_gpu", type=cli.boolean, default=True, metavar="BOOL", help="(True)")
    args = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    device = torch.cuda.get_device_name() if args.use_gpu else "the CPU"
    print(f"{machine()} PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, {device}.\n", flush=True)
    for folder in args.folders:
        deployment = Deployment.read(folder)
        same = compare(deployment, args.use_gpu)
        compiled = folder in args.compile
        methods = {**our_methods(deployment, args.use_gpu), **torch_methods(deployment, args.use_gpu, compiled)}
        clips = draw((max(SIZES), *deployment.shape))
        columns = [measure(methods, clips[:count], args.rounds, args.turn_s) for count in SIZES]
        rows = [(name, *(column[name] for column in columns), *same.get(name, ("", ""))) for name in methods]
        what = "streams" if deployment.state else "clips"
        sizes = " | ".join(f"{what}: {count}" for count in SIZES)
        shape = " x ".join(map(str, deployment.shape))
        header = f" | {sizes} | differs from the CPU's by at most | first class the same"
        print_table(f"{folder.name}, {shape}: ms", header, rows)
        print(flush=True)


if __name__ == "__main__":
    cli.run(main)

"""The ONNX programs of a deployment folder on an NVIDIA GPU, beside PyTorch's TSM; Paddle is not needed.

    python export.py --weights=... --input clips/ --programs onnx --fp16=True      (anywhere: a GPU is not needed)
    python benchmark/inference_gpu.py exported/TSM

It takes torch for CUDA and "onnxruntime-gpu[cuda,cudnn]". All methods take turns, one number of clips after the other;
figures are medians of the rounds' medians, from clips in main memory to probabilities there. The last column says by
how much our probabilities differ from those of the float32 program on the CPU; float32 that differs by more than 1e-4
ends the run. PyTorch's network has other weights of the same shapes. --use_gpu=False tries the script on a CPU, with
what can run there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import torch
from harness import Shape, TimedSide, machine, print_table
from pairs import torch_network

from video_zoo.configs.schema import Config
from video_zoo.engine.backends.base import INPUT, Job
from video_zoo.engine.backends.onnx_runtime import OnnxRuntime
from video_zoo.engine.deployment import CONFIG, Deployment
from video_zoo.engine.parity import LARGEST
from video_zoo.models import MODELS
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError
from video_zoo.utils.runtime import compute_threads

SIZES = (1, 8, 16)
Method = Callable[[np.ndarray], np.ndarray]  # uint8 clips (n, T, 3, H, W) -> probabilities (n, classes)


def our_methods(deployment: Deployment, on_gpu: bool) -> dict[str, Method]:
    """As --engine=onnxruntime runs them, and float16 in cuDNN's channels-last layout."""
    methods: dict[str, Method] = {}
    for precision in ("fp32", "tf32", "fp16") if on_gpu else ("fp32", "fp16"):
        program = deployment.program("onnx", precision)
        if program is not None:
            job = Job(program, precision, on_gpu, compute_threads())
            methods[f"ours, --precision={precision}"] = OnnxRuntime(job)
    if on_gpu and program is not None:
        settings = {"use_tf32": "0", "prefer_nhwc": "1"}
        session = onnxruntime.InferenceSession(str(program), providers=[("CUDAExecutionProvider", settings)])
        methods["the same with prefer_nhwc"] = lambda clips: session.run(None, {INPUT: clips})[0]
    return methods


def torch_methods(shape: Shape, on_gpu: bool) -> dict[str, Method]:
    """Eager and compiled, in the precisions that the device has."""
    precisions = {"float32": (False, False), "TF32": (True, False), "autocast float16": (True, True)}
    methods: dict[str, Method] = {}
    for title, form in (("", False), (", channels-last", True)):
        network = torch_network(shape, "published", form).eval().to("cuda" if on_gpu else "cpu")
        for compiled in (False, True) if form else (False,):  # it compiles for long
            called = torch.compile(network, dynamic=False) if compiled else network
            for name, flags in precisions.items() if on_gpu else [("float32", (False, False))]:
                title_of_all = f"PyTorch {'compiled' if compiled else 'eager'}, {name}{title}"
                methods[title_of_all] = torch_method(called, on_gpu, *flags)
    return methods


def torch_method(network: torch.nn.Module, on_gpu: bool, tf32: bool, half: bool) -> Method:
    device = "cuda" if on_gpu else "cpu"

    def run(clips: np.ndarray) -> np.ndarray:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        with torch.inference_mode(), torch.autocast(device, torch.float16, enabled=half):
            return network(torch.from_numpy(clips).to(device)).float().softmax(1).cpu().numpy()

    return run


def measure(methods: dict[str, Method], clips: np.ndarray, rounds: int) -> dict[str, float | str]:
    """Milliseconds of each method, or why it failed."""
    found: dict[str, float | str] = {}
    timers: dict[str, TimedSide] = {}
    for name, method in methods.items():
        timer = TimedSide()
        timer.call = lambda method=method: method(clips)
        try:
            timer.turn()  # compiles, and warms up
            timers[name] = timer
        except Exception as error:  # torch.compile's own classes, as without a compiler
            found[name] = f"left out: {type(error).__name__}"
    turns = [{name: timer.turn()["ms"] for name, timer in timers.items()} for _ in range(rounds)]
    return {**found, **{name: median(turn[name] for turn in turns) for name in timers}}


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a deployment folder with model.onnx")
    parser.add_argument("--rounds", type=cli.positive_int, default=3, metavar="N", help="(3)")
    parser.add_argument("--use_gpu", type=cli.boolean, default=True, metavar="BOOL", help="(True)")
    args = parser.parse_args()
    deployment = Deployment.read(args.folder)
    model = config.load(str(args.folder / CONFIG), Config, models=cli.model_sections(MODELS)).MODEL
    segments, _, size, _ = deployment.shape
    shape = Shape(deployment.model, model.num_layers, model.base_width, segments, size, len(deployment.names))
    ours = our_methods(deployment, args.use_gpu)
    clips = np.random.default_rng(0).integers(0, 256, (max(SIZES), *deployment.shape), dtype=np.uint8)
    expected = OnnxRuntime(Job(deployment.program("onnx", "fp32"), threads=compute_threads()))(clips)
    differences = {name: float(np.abs(method(clips) - expected).max()) for name, method in ours.items()}
    if differences["ours, --precision=fp32"] > LARGEST:
        raise InputError(f"float32 differs from the CPU's by {differences['ours, --precision=fp32']:.1e}")
    methods = {**ours, **torch_methods(shape, args.use_gpu)}
    columns = [measure(methods, clips[:count], args.rounds) for count in SIZES]
    device = torch.cuda.get_device_name() if args.use_gpu else "the CPU"
    print(f"{machine()} PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}.\n")
    rows = [
        (name, *(column[name] for column in columns), f"{differences[name]:.1e}" if name in differences else "")
        for name in methods
    ]
    header = f" | {' | '.join(f'clips: {count}' for count in SIZES)} | differs from the CPU's by at most"
    print_table(f"{deployment.model}-{model.num_layers} on {device}: ms", header, rows)


if __name__ == "__main__":
    cli.run(main)

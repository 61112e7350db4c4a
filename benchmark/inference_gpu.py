"""The ONNX program of a deployment folder on an NVIDIA GPU, beside PyTorch's TSM, where Paddle has no kernels for it.

    python benchmark/inference_gpu.py exported/TSM        (a TSM-50 of 8 x 224 px: export.py --programs onnx)

It takes torch for CUDA and "onnxruntime-gpu[cuda,cudnn]". Medians of 20 runs after 6, each from clips in main memory
to probabilities there. PyTorch's network has other weights of the same shapes; how near ours is to Paddle's, export.py
and infer.py tell.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median
from typing import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnxruntime
import torch

from benchmark.tables import print_table
from benchmark.torch_tsm import TorchTSN
from video_zoo.engine.backends import Job
from video_zoo.engine.backends.onnx_runtime import OnnxRuntime
from video_zoo.engine.deployment import INPUT, Deployment
from video_zoo.utils import cli

SIZES = (1, 8, 16)
RUNS, WARM_UP = 20, 6


def time_ms(run: Callable[[], object]) -> float:
    """The median."""
    times = []
    for number in range(WARM_UP + RUNS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        if number >= WARM_UP:
            times.append(1000 * (time.perf_counter() - start))
    return median(times)


def time_onnx(program: Path, clips: np.ndarray) -> dict[str, float]:
    """infer.py's way, and with TF32, which differs by more than 1e-4."""
    ours = OnnxRuntime(Job(program, "fp32", on_gpu=True))
    found = {"ours, --engine=onnxruntime": time_ms(lambda: ours(clips))}
    provider = ("CUDAExecutionProvider", {"use_tf32": "1"})
    session = onnxruntime.InferenceSession(str(program), providers=[provider])
    found["the same program with TF32"] = time_ms(lambda: session.run(None, {INPUT: clips}))
    return found


def time_torch(clips: np.ndarray, channels_last: bool) -> dict[str, float]:
    """Eager, in three precisions."""
    network = TorchTSN(shift="torch", channels_last=channels_last).eval().cuda()

    def run(half: bool) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=half):
            return network(torch.from_numpy(clips).cuda()).float().softmax(1).cpu().numpy()

    found, form = {}, ", channels-last" if channels_last else ""
    for name, tf32, half in (("float32", False, False), ("TF32", True, False), ("autocast float16", True, True)):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        found[f"PyTorch eager, {name}{form}"] = time_ms(lambda half=half: run(half))
    return found


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a deployment folder with model.onnx")
    deployment = Deployment.read(parser.parse_args().folder)
    program, columns = deployment.program("onnx", "fp32"), []
    for size in SIZES:
        clips = np.random.default_rng(0).integers(0, 256, (size, *deployment.shape), dtype=np.uint8)
        columns.append({**time_onnx(program, clips), **time_torch(clips, False), **time_torch(clips, True)})
    versions = f"PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}"
    print_table(
        f"{torch.cuda.get_device_name()}, {versions}: milliseconds",
        ["", *(f"{size} clips" for size in SIZES)],
        [[name, *(f"{column[name]:.1f}" for column in columns)] for name in columns[0]],
    )


if __name__ == "__main__":
    cli.run(main)

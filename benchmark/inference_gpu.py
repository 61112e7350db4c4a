"""The ONNX program of a deployment folder on an NVIDIA GPU, beside PyTorch's TSM, where Paddle has no kernels for it.

    python benchmark/inference_gpu.py exported/TSM        (a TSM-50 of 8 x 224 px: export.py --programs onnx)

It takes torch for CUDA and "onnxruntime-gpu[cuda,cudnn]". Medians of the calls of a second, each from clips in main
memory to probabilities there. PyTorch's network has other weights of the same shapes; how near ours is to Paddle's,
export.py and infer.py tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from harness import Shape, TimedSide, print_table
from pairs import torch_network

from video_zoo.engine.backends.base import INPUT, Job
from video_zoo.engine.backends.onnx_runtime import OnnxRuntime
from video_zoo.engine.deployment import Deployment
from video_zoo.utils import cli

SIZES = (1, 8, 16)


def time_ms(call: Any, *values: Any) -> float:
    """The median; what is called gives its result in main memory."""
    timer = TimedSide()
    timer.call = lambda: call(*values)
    timer.turn()  # warms up
    return timer.turn()["ms"]


def torch_ms(clips: np.ndarray, channels_last: bool) -> dict[str, float]:
    """Eager, in three precisions."""
    network = torch_network(Shape(), "published", channels_last).eval().cuda()

    def run(half: bool) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=half):
            return network(torch.from_numpy(clips).cuda()).float().softmax(1).cpu().numpy()

    found, form = {}, ", channels-last" if channels_last else ""
    for name, tf32, half in (("float32", False, False), ("TF32", True, False), ("autocast float16", True, True)):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        found[f"PyTorch eager, {name}{form}"] = time_ms(run, half)
    return found


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a deployment folder with model.onnx")
    deployment = Deployment.read(parser.parse_args().folder)
    program, columns = deployment.program("onnx", "fp32"), []
    ours = OnnxRuntime(Job(program, "fp32", on_gpu=True))
    tf32 = onnxruntime.InferenceSession(str(program), providers=[("CUDAExecutionProvider", {"use_tf32": "1"})])
    for size in SIZES:
        clips = np.random.default_rng(0).integers(0, 256, (size, *deployment.shape), dtype=np.uint8)
        column = {"ours, --engine=onnxruntime (float32)": time_ms(ours, clips)}
        column["the same program with TF32"] = time_ms(tf32.run, None, {INPUT: clips})
        columns.append({**column, **torch_ms(clips, False), **torch_ms(clips, True)})
    title = f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}: ms"
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    print_table(title, " | 1 clip | 8 clips | 16 clips", rows)


if __name__ == "__main__":
    cli.run(main)

"""Video files in, names out, two ways, each in a process that ends when it is through.

    python benchmark/inference_loops.py ours|plain JOB.json

"ours" is infer.py as it is. "plain" is what one writes in an afternoon: decord2 reads the frames, Pillow scales them,
the network's program is the same. {"seconds", "predictions"?} go to the file that the job names as "answer". The
seconds are those from the first video's request to the last row written, or printed; start-up and end are apart.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np


def ours(arguments: list[str]) -> dict[str, Any]:
    """infer.py with a clock around its pass."""
    import infer

    seconds, predict = [], infer.predict

    def timed(*args: Any, **options: Any) -> None:
        start = time.perf_counter()
        predict(*args, **options)
        seconds.append(time.perf_counter() - start)

    infer.predict, sys.argv = timed, ["infer.py", *arguments]
    infer.main()
    return {"seconds": seconds[0]}


def plain(
    program: str, precision: str, labels: str, segments: int, short_size: int, size: int, videos: list[str]
) -> dict[str, Any]:
    """One video after the other."""
    from decord import VideoReader, cpu

    from video_zoo.engine.backends import Job
    from video_zoo.engine.backends.open_vino import OpenVINO
    from video_zoo.utils.runtime import compute_threads

    backend = OpenVINO(Job(Path(program), precision, threads=compute_threads()))
    names = [line.rsplit(" ", 1)[0] for line in Path(labels).read_text(encoding="utf-8").splitlines()]
    predictions = []
    start = time.perf_counter()
    for path in videos:
        video = VideoReader(path, ctx=cpu(0))
        length = len(video) // segments
        frames = video.get_batch([part * length + (length - 1) // 2 for part in range(segments)]).asnumpy()
        clip = np.stack([_scaled_and_cropped(frame, short_size, size) for frame in frames])
        probabilities = backend(clip[None])[0]
        top = np.argsort(-probabilities)[:5]
        print(path, *(f"{100 * probabilities[index]:6.2f}%  {names[index]}" for index in top), sep="\n  ", flush=True)
        predictions.append((path, int(top[0]), float(probabilities[top[0]])))
    return {"seconds": time.perf_counter() - start, "predictions": predictions}


def _scaled_and_cropped(frame: np.ndarray, short_size: int, size: int) -> np.ndarray:
    """uint8 (H, W, 3) -> (3, size, size): v1.5's scaling, and the middle."""
    from PIL import Image

    image = Image.fromarray(frame)
    if min(image.size) != short_size:
        sizes = (short_size * 4 // 3, short_size)
        image = image.resize(sizes if image.width >= image.height else sizes[::-1], Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in image.size)
    return np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


if __name__ == "__main__":
    job = json.loads(Path(sys.argv[2]).read_text())
    place = Path(job.pop("answer"))
    place.write_text(json.dumps({"ours": ours, "plain": plain}[sys.argv[1]](**job)))

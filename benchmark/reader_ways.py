"""Ways to read chosen frames of a video, each in a process of its own with one thread: the sides of reader.py."""

from __future__ import annotations

import importlib.metadata
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable

import numpy as np
from harness import memory_mb, serve

Read = Callable[[str, list[int]], Any]  # a file, frame numbers -> their frames, uint8 RGB (n, H, W, 3)


def ours() -> Read:
    """video_zoo.datareader."""
    from video_zoo.datareader.decode import decode_video

    return lambda path, numbers: decode_video(Path(path), lambda num_frames: numbers).frames


def v15() -> Read:
    """v1.5's: OpenCV, every frame as RGB in memory."""
    import cv2

    def read(path: str, numbers: list[int]) -> list[np.ndarray]:
        capture, frames = _open_capture(cv2, path), []
        for _ in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
            ok, image = capture.read()
            if ok:
                frames.append(image[:, :, ::-1])
        return [np.ascontiguousarray(frames[number]) for number in numbers]

    return read


def opencv_grab() -> Read:
    """OpenCV: every frame decoded, the chosen ones converted, and nothing after the last of them."""
    import cv2

    def read(path: str, numbers: list[int]) -> list[np.ndarray]:
        capture, kept = _open_capture(cv2, path), {}
        for number in range(max(numbers) + 1):
            capture.grab()
            if number in numbers:
                kept[number] = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
        return [kept[number] for number in numbers]

    return read


def pyav() -> Read:
    """PyAV: every frame decoded, the chosen ones converted, and nothing after the last of them."""
    import av

    def read(path: str, numbers: list[int]) -> list[np.ndarray]:
        kept = {}
        with av.open(path) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for number, frame in enumerate(container.decode(video=0)):
                if number in numbers:
                    kept[number] = frame.to_ndarray(format="rgb24")
                if len(kept) == len(set(numbers)):
                    break
        return [kept[number] for number in numbers]

    return read


def decord() -> Read:
    """decord2."""
    from decord import VideoReader, cpu

    return lambda path, numbers: VideoReader(path, ctx=cpu(0), num_threads=1).get_batch(numbers).asnumpy()


def torchcodec(seek_mode: str) -> Read:
    """torchcodec, which reads all packets first ("exact"), or trusts the container's frame rate ("approximate")."""
    import torch
    from torchcodec.decoders import VideoDecoder

    torch.set_num_threads(1)

    def read(path: str, numbers: list[int]) -> np.ndarray:
        decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=seek_mode)
        return decoder.get_frames_at(numbers).data.numpy()

    return read


WAYS: dict[str, tuple[str, Callable[[], Read], tuple[str, ...]]] = {  # name -> title, how, packages
    "ours": ("ours", ours, ("av",)),
    "v15": ("v1.5's way (OpenCV, all frames)", v15, ("opencv-python",)),
    "opencv_grab": ("OpenCV, grab", opencv_grab, ("opencv-python",)),
    "pyav": ("PyAV", pyav, ("av",)),
    "decord": ("decord2", decord, ("decord2",)),
    "torchcodec": ("torchcodec, exact", partial(torchcodec, "exact"), ("torchcodec", "torch")),
    "torchcodec_approximate": ("torchcodec, approximate", partial(torchcodec, "approximate"), ("torchcodec", "torch")),
}
ELSEWHERE = ("decord", "torchcodec", "torchcodec_approximate")  # packages that the project does not need


class Reader:
    """One of the WAYS. `start` also writes the frames of each choice of numbers into a folder, and does not count."""

    def __init__(self, name: str):
        _, make, packages = WAYS[name]
        self._read = make()
        self.hello = {"versions": ", ".join(f"{each} {importlib.metadata.version(each)}" for each in packages)}

    def start(self, path: str, choices: list[list[int]], folder: str) -> dict[str, Any]:
        for place, numbers in enumerate(choices):
            np.save(f"{folder}/{place}.npy", np.stack(self._read(path, numbers)))
        return {}

    def turn(self, path: str, choices: list[list[int]]) -> dict[str, float]:
        """{"ms": of the first choice, "drawn_ms": of the second, "cpu_ms": of the first, "peak_mb"}."""
        times = [self.repeat(path, numbers, 1) for numbers in choices]
        return {**times[0], "drawn_ms": times[1]["ms"], "peak_mb": memory_mb("VmHWM")}

    def repeat(self, path: str, numbers: list[int], count: int) -> dict[str, float]:
        """Milliseconds a clip, by the clock and of the processor."""
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(count):
            self._read(path, numbers)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        return {"ms": 1000 * wall_s / count, "cpu_ms": 1000 * cpu_s / count}


def _open_capture(cv2: Any, path: str) -> Any:
    cv2.setNumThreads(1)
    return cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


if __name__ == "__main__":
    serve({name: partial(Reader, name) for name in WAYS})

"""Ways to read chosen frames of a video, each in a process of its own, which times itself; reader.py asks.

A process gets a line of JSON a job, {"path", "numbers", "repeats", "save"}, and answers with one; its first line says
which packages it uses, or why it cannot.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

Read = Callable[[str, list[int]], Any]


def ours() -> Read:
    """video_zoo.datareader.decode."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
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


def torchcodec(seek_mode: str = "exact") -> Read:
    """torchcodec, which reads all packets first for exact frame numbers."""
    import torch
    from torchcodec.decoders import VideoDecoder

    torch.set_num_threads(1)

    def read(path: str, numbers: list[int]) -> np.ndarray:
        decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=seek_mode)
        return decoder.get_frames_at(numbers).data.numpy()

    return read


def torchcodec_approximate() -> Read:
    """torchcodec, which trusts the container's frame rate."""
    return torchcodec("approximate")


METHODS: dict[str, tuple[Callable[[], Read], str, tuple[str, ...]]] = {  # -> how, title, packages
    "ours": (ours, "ours", ("av",)),
    "v15": (v15, "v1.5's way (OpenCV, all frames)", ("opencv-python",)),
    "opencv_grab": (opencv_grab, "OpenCV, grab", ("opencv-python",)),
    "pyav": (pyav, "PyAV", ("av",)),
    "decord": (decord, "decord2", ("decord2",)),
    "torchcodec": (torchcodec, "torchcodec, exact", ("torchcodec", "torch")),
    "torchcodec_approximate": (torchcodec_approximate, "torchcodec, approximate", ("torchcodec", "torch")),
}
ELSEWHERE = ("decord", "torchcodec", "torchcodec_approximate")  # packages that the project does not need


class Peer:
    """A running process that reads in one of the METHODS.

    Args:
        python: the interpreter that has the packages.

    Attributes: missing: why it cannot read; None if it can.
    """

    def __init__(self, method: str, python: str):
        self.method = method
        self.title = METHODS[method][1]
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [python, __file__, method],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **one},
        )
        hello = self.receive()
        self.missing: str | None = hello.get("error")
        self.versions: str = hello.get("versions", "")

    def send(self, path: Path, numbers: list[int], repeats: int = 1, save: Path | None = None) -> None:
        job = {"path": str(path), "numbers": numbers, "repeats": repeats, "save": save and str(save)}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """{"ms", "cpu_ms": a clip, "peak_mb": of the process while it read} or {"error"}."""
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": f"it ended with exit code {self._process.wait()}"}

    def read(self, path: Path, numbers: list[int], save: Path | None = None) -> dict[str, Any]:
        self.send(path, numbers, save=save)
        return self.receive()

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def memory_mb(what: str, pid: int | str = "self") -> float:
    """VmRSS (now) or VmHWM (at most so far) of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(what))) * 1024 / 1e6


def _open_capture(cv2: Any, path: str) -> Any:
    cv2.setNumThreads(1)
    return cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def _do(read: Read, job: dict[str, Any]) -> dict[str, Any]:
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for _ in range(job["repeats"]):
        frames = None  # the clip before is not kept beside the next
        frames = read(job["path"], job["numbers"])
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    if job["save"]:
        np.save(job["save"], np.stack(frames))
    a_clip = 1000 / job["repeats"]
    return {"ms": wall_s * a_clip, "cpu_ms": cpu_s * a_clip, "peak_mb": memory_mb("VmHWM")}


def _serve(method: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    make, _, packages = METHODS[method]
    try:
        read, hello = make(), {"versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)}
    except Exception as error:  # whatever a package raises when a library of its own is missing
        read, hello = None, {"error": f"{type(error).__name__}: {error}".split("\n")[0][:120]}
    print(json.dumps(hello), file=answers, flush=True)
    for line in sys.stdin if read else ():
        try:
            answer = _do(read, json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".split("\n")[0][:120]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])

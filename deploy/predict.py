"""Predicts the classes of videos from a deployment folder, with nothing of this project: copy this file where you like.

    pip install numpy pyyaml pillow opencv-python onnxruntime       (or openvino in place of onnxruntime)
    python predict.py DEPLOYMENT_FOLDER video.mp4 [more.mp4 ...]

It is written to be read: what inference.yaml says of sampling and scaling is done here in a few lines. infer.py decodes
only the frames it needs, several videos at a time, and names damaged files; this decodes everything.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image

TOP = 5


def load_program(folder: Path, programs: dict):
    """A function: uint8 clips (n, T, 3, H, W) -> float32 probabilities (n, classes)."""
    try:
        import openvino

        model = openvino.Core().compile_model(
            folder / programs["openvino"]["fp32"], "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return lambda clips: model(clips)[0]
    except (ImportError, KeyError):
        if "onnx" not in programs:
            raise SystemExit(
                f"error: {folder} has no program for ONNX Runtime, and none for an OpenVINO that is here"
            ) from None
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / programs["onnx"]["fp32"]))
        return lambda clips: session.run(None, {"clips": clips})[0]


def choose_frames(count: int, sampling: dict) -> list:
    """The frames of a clip: a few, `stride` apart, in the middle of each equal part of the video."""
    stride = sampling.get("frame_stride", 1)
    length, covered = count // sampling["segments"], (sampling["consecutive_frames"] - 1) * stride + 1
    chosen = []
    for segment in range(sampling["segments"]):
        start = segment * length if length else segment
        if length >= covered:
            start += (length - (1 if stride == 1 else covered)) // 2
        chosen += [(start + step * stride) % count for step in range(sampling["consecutive_frames"])]
    return chosen


def read_frames(path: str, sampling: dict) -> list:
    """The frames of a clip, uint8 RGB (H, W, 3) each."""
    capture, frames = cv2.VideoCapture(path), []
    while True:
        found, frame = capture.read()
        if not found:
            break
        frames.append(frame[:, :, ::-1])  # a long video should be decoded twice instead: to count, and to choose
    if not frames:
        raise SystemExit(f"error: {path} is no video, or cannot be read")
    return [frames[i] for i in choose_frames(len(frames), sampling)]


def scale_and_crop(frame: np.ndarray, scaling: dict) -> np.ndarray:
    """uint8 RGB (H, W, 3) -> (size, size, 3)."""
    image, short, size = Image.fromarray(frame), scaling["shorter_side"], scaling["crop_size"]
    width, height = image.size
    if min(width, height) != short:
        long = round(short * max(width, height) / min(width, height)) if scaling["keep_aspect"] else int(short * 4 / 3)
        image = image.resize((short, long) if width < height else (long, short), Image.BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def printable(name: str) -> str:
    """A name for a terminal: no control characters, which could change what is shown."""
    return name if name.isprintable() else ascii(name)


def main(folder: Path, videos: list) -> None:
    description = yaml.safe_load((folder / "inference.yaml").read_text(encoding="utf-8"))
    program = load_program(folder, description["programs"])
    for video in videos:
        frames = [
            scale_and_crop(frame, description["scaling"]) for frame in read_frames(video, description["sampling"])
        ]
        clip = np.ascontiguousarray(np.stack(frames).transpose(0, 3, 1, 2))  # (T, H, W, 3) -> (T, 3, H, W)
        probabilities = program(clip[None])[0]
        print(printable(video))
        for index in np.argsort(-probabilities, kind="stable")[:TOP]:
            print(f"  {100 * probabilities[index]:6.2f}%  {printable(description['labels'][index])}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])

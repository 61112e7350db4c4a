"""Predicts the classes of videos from a deployment folder, with nothing of this project: copy this file where you like.

    pip install numpy pyyaml pillow "av>=16" onnxruntime            (or openvino in place of onnxruntime)
    python predict.py DEPLOYMENT_FOLDER video.mp4 [more.mp4 ...]

It is written to be read: what inference.yaml says of sampling and scaling is done here in a few lines. infer.py decodes
only the frames it needs, several videos at a time, and names damaged files; this decodes everything.
"""

import hashlib
import os
import sys
from pathlib import Path

sys.modules["openvino_telemetry"] = None  # OpenVINO reports its use through this package, and goes on without
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime does so, too

import av
import numpy as np
import yaml
from av.stream import Disposition
from PIL import Image

TOP = 5
MOST_BYTES = 8 << 20  # of inference.yaml


class PlainLoader(yaml.SafeLoader):
    """YAML without aliases and merge keys, with which a small file can have values without end."""

    def compose_node(self, *words):
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias (*NAME)")
        return super().compose_node(*words)

    def flatten_mapping(self, node):
        """A merge key (<<) stays a key, which is no plain value."""


def read_description(file: Path) -> dict:
    """What inference.yaml says. Raises ValueError or another error unless it is plain and has what is used here."""
    with file.open("rb") as content:
        text = content.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")
    description = yaml.load(text.decode("utf-8"), PlainLoader)  # as safe as safe_load: only plain values are made
    if "state" in description:
        raise SystemExit(
            f"error: the programs beside {file} follow streams frame by frame, and this file predicts whole videos:"
            " export without --online, or use infer.py --online"
        )
    check(description)
    return description


def check(description: dict) -> None:
    """Raises ValueError or another error unless what is used here is there, and programs are files of the folder."""
    checksums, labels = description["checksums"].keys(), description["labels"]
    for files in description["programs"].values():
        for name in files.values():
            if Path(name).name != name or name not in checksums:
                raise ValueError(f"{name[:100]!r} is no file of the folder with a checksum")
    if not all(Path(name).name == name for name in checksums):
        raise ValueError("its checksums are not of files of the folder")
    sampling, scaling = description["sampling"], description["scaling"]
    sizes = [sampling["segments"], sampling["consecutive_frames"], sampling.get("frame_stride", 1)]
    sizes += [scaling["shorter_side"], scaling["crop_size"]]
    if not all(type(size) is int and 0 < size < 100_000 for size in sizes):
        raise ValueError("its sampling or scaling is not of whole numbers")
    if type(scaling["keep_aspect"]) is not bool:
        raise ValueError("keep_aspect is neither true nor false")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError("its labels are no list of text")
    if description["output"]["shape"] != [-1, len(labels)]:
        raise ValueError("it has not as many labels as outputs")
    checked_on = description.get("checked_on", {})
    names = (checked_on.get("processor", ""), *checked_on.get("instructions", {}).keys())
    if not all(isinstance(name, str) for name in names):
        raise ValueError("the processor that it was checked on has no plain names")


def check_program(folder: Path, program: str, checksums: dict) -> None:
    """Ends with a message if a program, or what lies beside it, is not what export.py wrote."""
    for name, checksum in checksums.items():
        file = folder / name
        if file.stem == Path(program).stem and hashlib.sha256(file.read_bytes()).hexdigest() != checksum:
            raise SystemExit(f"error: {file} is damaged: copy the folder again, or export it again")


def load_program(folder: Path, programs: dict, checksums: dict):
    """A function: uint8 clips (n, T, 3, H, W) -> float32 probabilities (n, classes)."""
    try:
        import openvino

        check_program(folder, programs["openvino"]["fp32"], checksums)
        model = openvino.Core().compile_model(
            folder / programs["openvino"]["fp32"], "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return lambda clips: model(clips)[0]
    except (ImportError, KeyError):
        if "fp32" not in programs.get("onnx", {}):
            raise SystemExit(
                f"error: {folder} has no program for ONNX Runtime, and none for an OpenVINO that is here"
            ) from None
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        check_program(folder, programs["onnx"]["fp32"], checksums)
        options = onnxruntime.SessionOptions()
        options.add_free_dimension_override_by_name("clips", 1)  # faster, and there is one clip a call
        session = onnxruntime.InferenceSession(str(folder / programs["onnx"]["fp32"]), options)
        return lambda clips: session.run(None, {"clips": clips})[0]


def compare_processors(checked_on: dict) -> None:
    """Says so, if the programs were compared with the network on a processor that computes with other instructions."""
    cpuinfo = Path("/proc/cpuinfo")  # Linux has it
    here = cpuinfo.read_text(encoding="utf-8", errors="replace").split() if cpuinfo.exists() else []
    differ = [name for name, there in checked_on.get("instructions", {}).items() if here and (name in here) != there]
    if differ:
        there = printable(checked_on.get("processor", "another processor"))
        print(f"checked on {there}; this one differs in {printable(' '.join(differ))}", file=sys.stderr)


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
    frames = []
    try:
        options = {"protocol_whitelist": "file"}  # no file may name an address
        with av.open(str(Path(path).absolute()), options=options, metadata_errors="replace") as video:
            if {"hls", "concat", "dash", "imf", "sdp"} & set(video.format.name.split(",")):
                raise ValueError("a list of other files")
            # the first that is no cover picture
            stream = min(video.streams.video, key=lambda stream: Disposition.attached_pic in stream.disposition)
            for frame in video.decode(stream):
                if frame.is_corrupt:
                    break
                frames.append(to_rgb(frame))  # a long video should be decoded twice instead: to count, and to choose
    except (av.FFmpegError, OSError, ValueError):
        pass  # of a damaged file, the frames before the damage are used
    except IndexError:
        pass  # PyAV raises it behind the last frame, if another stream begins on the way
    if not frames:
        raise SystemExit(f"error: {printable(str(path))} is no video, or cannot be read")
    return [frames[i] for i in choose_frames(len(frames), sampling)]


def to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """uint8 RGB (H, W, 3), upright, with the colours that the network was trained on: always those of BT.601."""
    plain = frame
    if not (frame.format.is_rgb or frame.format.has_palette):  # without its marks of interlacing and of chroma
        plain = av.VideoFrame(frame.width, frame.height, frame.format.name)
        plain.color_range = frame.color_range
        for source, target in zip(frame.planes, plain.planes):
            rows, places = (np.frombuffer(plane, np.uint8).reshape(plane.height, -1) for plane in (source, target))
            length = min(rows.shape[1], places.shape[1])
            places[:, :length] = rows[:: -1 if source.line_size < 0 else 1, :length]  # AMV has the last row first
    colours = {"src_colorspace": "ITU601", "dst_colorspace": "ITU601", "interpolation": "BICUBIC"}
    pixels = plain.reformat(format="bgr24", **colours).to_ndarray()[:, :, ::-1]  # as training did it, to the bit
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()
        if abs(b) > abs(a):
            pixels, a, d = pixels.swapaxes(0, 1), c, b
        pixels = pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(pixels)


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
    try:
        description = read_description(folder / "inference.yaml")
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise SystemExit(f"error: {folder / 'inference.yaml'} is damaged: {error}; export the folder again") from None
    program = load_program(folder, description["programs"], description["checksums"])
    compare_processors(description.get("checked_on", {}))
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
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except OSError as problem:
        raise SystemExit(f"error: {problem}") from None

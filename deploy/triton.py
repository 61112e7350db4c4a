"""Writes a Triton Inference Server model repository from a deployment folder, with nothing of this project.

    pip install pyyaml
    python triton.py DEPLOYMENT_FOLDER REPOSITORY            (a third word, openvino, takes OpenVINO's program)
    tritonserver --model-repository=REPOSITORY               (in Triton's container)

A request holds uint8 clips, sampled and scaled as inference.yaml says (deploy/predict.py does it); the answer holds
probabilities, or with Triton's classification extension the names of the most probable classes. Requests that come
together are computed together. Source of the fields: Triton's user guide, "Model Configuration".
"""

import hashlib
import re
import shutil
import sys
from pathlib import Path

import yaml

BACKENDS = {"onnx": ("onnxruntime", (".onnx",)), "openvino": ("openvino", (".xml", ".bin"))}
CONFIG = """name: "{name}"
backend: "{backend}"
max_batch_size: {most}
input [ {{ name: "{input}" data_type: TYPE_UINT8 dims: [ {shape} ] }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: [ {classes} ] label_filename: "labels.txt" }} ]
dynamic_batching {{ max_queue_delay_microseconds: 2000 }}
"""
MOST_CLIPS = 16  # of a batch


def check(description: dict) -> None:
    """Raises ValueError or another error unless what is written from the description is plain names and numbers."""
    programs = [file for files in description["programs"].values() for file in files.values()]
    ends = (description["input"]["name"], description["output"]["name"])
    for name in (description["model"], *programs, *ends):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
            raise ValueError(f"{name[:100]!r} is no plain name")
    if not all(type(size) is int and 0 < size < 100_000 for size in description["input"]["shape"][1:]):
        raise ValueError("the shape of its input is no list of numbers")
    if not description["labels"] or not all(len(label.splitlines()) == 1 for label in description["labels"]):
        raise ValueError("a label is not one line of text")


def main(folder: Path, repository: Path, kind: str) -> None:
    try:
        description = yaml.safe_load((folder / "inference.yaml").read_text(encoding="utf-8"))
        check(description)
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SystemExit(f"error: {folder / 'inference.yaml'} is damaged: {error}; export the folder again") from None
    if kind not in description["programs"] or kind not in BACKENDS:
        there = ", ".join(description["programs"])
        raise SystemExit(
            f"error: {folder} has no {kind} program for Triton; it has {there}, and onnx or openvino will do"
        )
    backend, suffixes = BACKENDS[kind]
    name = description["model"].lower()
    program = folder / description["programs"][kind]["fp32"]
    for file in map(program.with_suffix, suffixes):
        if hashlib.sha256(file.read_bytes()).hexdigest() != description["checksums"].get(file.name):
            raise SystemExit(f"error: {file} is damaged: copy the folder again, or export it again")
    version = repository / name / "1"
    version.mkdir(parents=True, exist_ok=True)
    for suffix in suffixes:
        shutil.copyfile(program.with_suffix(suffix), version / f"model{suffix}")
    labels = description["labels"]
    (repository / name / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    config = CONFIG.format(
        name=name,
        backend=backend,
        most=MOST_CLIPS,
        input=description["input"]["name"],
        output=description["output"]["name"],
        shape=", ".join(map(str, description["input"]["shape"][1:])),
        classes=len(labels),
    )
    (repository / name / "config.pbtxt").write_text(config, encoding="utf-8")
    print(f"{repository / name} is ready")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) == 4 else "onnx")
    except OSError as problem:
        raise SystemExit(f"error: {problem}") from None

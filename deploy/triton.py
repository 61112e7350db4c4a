"""Writes a Triton Inference Server model repository from a deployment folder, with nothing of this project.

    pip install pyyaml
    python triton.py DEPLOYMENT_FOLDER REPOSITORY            (a third word takes another program than onnx:
                                                             onnx_fp16, for GPUs, or openvino)
    tritonserver --model-repository=REPOSITORY               (in Triton's container)

A request holds uint8 clips, sampled and scaled as inference.yaml says (deploy/predict.py does it); the answer holds
probabilities, or with Triton's classification extension the names of the most probable classes. Requests that come
together are computed together. Source of the fields: Triton's user guide, "Model Configuration".
"""

import hashlib
import re
import sys
from pathlib import Path

import yaml

BACKENDS = {  # the word -> the kind of program, its precision, Triton's backend, the endings of its files
    "onnx": ("onnx", "fp32", "onnxruntime", (".onnx",)),
    "onnx_fp16": ("onnx", "fp16", "onnxruntime", (".onnx",)),
    "openvino": ("openvino", "fp32", "openvino", (".xml", ".bin")),
}
CONFIG = """name: "{name}"
backend: "{backend}"
max_batch_size: {most}
input [ {{ name: "{input}" data_type: TYPE_UINT8 dims: [ {shape} ] }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: [ {classes} ] label_filename: "labels.txt" }} ]
dynamic_batching {{ max_queue_delay_microseconds: 2000 }}
"""
MOST_CLIPS = 16  # of a batch
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
            f"error: the programs beside {file} follow streams frame by frame, and Triton would need a sequence batcher"
            " that keeps their states: export without --online"
        )
    check(description)
    return description


def check(description: dict) -> None:
    """Raises ValueError or another error unless what is written from the description is plain names and numbers."""
    programs = [file for files in description["programs"].values() for file in files.values()]
    ends = (description["input"]["name"], description["output"]["name"])
    for name in (description["model"], *programs, *ends):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
            raise ValueError(f"{name[:100]!r} is no plain name")
    if not isinstance(description["checksums"], dict):
        raise ValueError("its checksums are none")
    if not all(type(size) is int and 0 < size < 100_000 for size in description["input"]["shape"][1:]):
        raise ValueError("the shape of its input is no list of numbers")
    if not description["labels"] or not all(len(label.splitlines()) == 1 for label in description["labels"]):
        raise ValueError("a label is not one line of text")


def write(folder: Path, contents: dict) -> None:
    """Writes files, whose names are paths in the folder. Links in their places are replaced, and those in place of the
    folders refused: nothing is written through them."""
    for place in (folder, folder / "1"):
        if place.is_symlink():
            raise SystemExit(f"error: {place} is a link: remove it")
        place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).unlink(missing_ok=True)
        with (folder / name).open("xb") as file:
            file.write(content)


def main(folder: Path, repository: Path, word: str) -> None:
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
    kind, precision, backend, suffixes = BACKENDS.get(word, (word, "fp32", "", ()))
    if not backend or precision not in description["programs"].get(kind, {}):
        there = ", ".join(description["programs"])
        raise SystemExit(
            f"error: {folder} has no {word} program for Triton; it has {there}, and onnx, onnx_fp16 (of export.py"
            " --fp16=True) or openvino will do"
        )
    name = description["model"].lower()
    program = folder / description["programs"][kind][precision]
    contents = {}
    for suffix in suffixes:
        file = program.with_suffix(suffix)
        contents[f"1/model{suffix}"] = file.read_bytes()
        if hashlib.sha256(contents[f"1/model{suffix}"]).hexdigest() != description["checksums"].get(file.name):
            raise SystemExit(f"error: {file} is damaged: copy the folder again, or export it again")
    labels = description["labels"]
    config = CONFIG.format(
        name=name,
        backend=backend,
        most=MOST_CLIPS,
        input=description["input"]["name"],
        output=description["output"]["name"],
        shape=", ".join(map(str, description["input"]["shape"][1:])),
        classes=len(labels),
    )
    contents["labels.txt"] = "".join(f"{label}\n" for label in labels).encode()
    contents["config.pbtxt"] = config.encode()
    write(repository / name, contents)
    print(f"{repository / name} is ready")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) == 4 else "onnx")
    except OSError as problem:
        raise SystemExit(f"error: {problem}") from None

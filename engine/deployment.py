"""A deployment folder: a network as programs that inference engines load, and what a caller must know of them.

    inference.yaml            what this module reads and writes; every key says what it is
    config.yaml               the config it was made with, for this project's commands
    label.txt                 `NAME INDEX` lines
    model.pdmodel, .pdiparams Paddle Inference, and TensorRT through it
    model.onnx                ONNX Runtime
    openvino_fp32.xml, .bin   OpenVINO; openvino_int8 quantised

Nothing here imports an engine, so a folder is read at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file

FILE, CONFIG, LABELS = "inference.yaml", "config.yaml", "label.txt"
INPUT, OUTPUT = "clips", "probabilities"
_VERSION = 1

# kind of program -> precision -> file; the other files of a program have the same stem
PROGRAMS = {
    "paddle": {"fp32": "model.pdmodel"},
    "onnx": {"fp32": "model.onnx"},
    "openvino": {"fp32": "openvino_fp32.xml", "int8": "openvino_int8.xml"},
}
ENGINE_OF = {"paddle": "paddle-inference", "onnx": "onnxruntime", "openvino": "openvino"}  # kind -> what compares it

# What writing a kind of program needs, beside Paddle: module -> pip name. paddle2onnx has a release for each Paddle.
_CONVERTERS = {
    "paddle": {},
    "onnx": {"paddle2onnx": "paddle2onnx==%s", "packaging": "packaging", "onnx": "onnx"},
    "openvino": {"openvino": "openvino"},
    "int8": {"openvino": "openvino", "nncf": "nncf"},
}


def missing_converters(kind: str) -> list[str]:
    """The pip names of what is not installed and writing this kind of program ("int8": quantising) needs."""
    release = "1.3.1" if is_paddle_2() else "2.1.0"
    missing = [pip for module, pip in _CONVERTERS[kind].items() if importlib.util.find_spec(module) is None]
    return [pip.replace("%s", release) for pip in missing]


def is_paddle_2() -> bool:
    """Whether the installed Paddle is 2.6, found out without importing it."""
    for package in ("paddlepaddle", "paddlepaddle-gpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package).startswith("2.")
    return False


@dataclass(frozen=True)
class Deployment:
    """What inference.yaml says.

    Args:
        folder: where it lies.
        model: TSM, TSN ...
        names: of the classes, by index.
        shape: of a clip, (T, C, H, W).
        programs: kind -> precision -> file.
        facts: whatever else a caller should know, for readers of the file.
        checksums: file -> SHA-256, of the programs and of what lies beside them.
    """

    folder: Path
    model: str
    names: list[str]
    shape: tuple[int, ...]
    programs: dict[str, dict[str, str]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Deployment:
        """Raises InputError: no such file, or it is damaged, or a program that it names is missing."""
        import yaml

        path = folder / FILE
        try:
            said = yaml.safe_load(path.read_text(encoding="utf-8"))
            names, programs = said["labels"], said["programs"]
            shape = tuple(int(size) for size in said["input"]["shape"][1:])
            checksums = {str(file): str(digest) for file, digest in said["checksums"].items()}
            sound = (
                said["version"] == _VERSION
                and len(shape) == 4
                and isinstance(names, list)
                and all(isinstance(name, str) for name in names)
                and said["output"]["shape"] == [-1, len(names)]
                and all(files.items() <= PROGRAMS[kind].items() for kind, files in programs.items())
                and all(Path(file).name == file for file in checksums)
            )
            found = cls(folder, str(said["model"]), names, shape, programs, checksums=checksums) if sound else None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
            found = None
        if found is None:
            raise InputError(f"{path} is damaged, or of another version; export.py makes the folder anew")
        return found

    def write(self) -> None:
        """Writes inference.yaml, with the checksums of the programs that are there. Raises InputError."""
        import yaml

        said = {
            "version": _VERSION,
            "model": self.model,
            "input": {
                "name": INPUT,
                "dtype": "uint8",
                "shape": [-1, *self.shape],
                "layout": "clips, frames, R G B (of each frame), rows, columns",
            },
            "output": {"name": OUTPUT, "dtype": "float32", "shape": [-1, len(self.names)]},
            **self.facts,
            "programs": self.programs,
            "checksums": {file.name: _sha256(file) for file in self._files()},
            "labels": self.names,
        }
        with atomic_file(self.folder / FILE) as file:
            file.write("# Made by export.py. The programs take whole clips of uint8 pixels: normalisation is inside.\n")
            yaml.safe_dump(said, file, sort_keys=False, allow_unicode=True)

    def program(self, kind: str, precision: str) -> Path | None:
        """The file of a program; one of lower precision that is computed from fp32's is that one."""
        files = self.programs.get(kind, {})
        file = files.get(precision) or (files.get("fp32") if precision in ("bf16", "fp16") else None)
        return self.folder / file if file else None

    def foreign_files(self) -> list[str]:
        """What is in the folder and not of a deployment."""
        ours = {FILE, CONFIG, LABELS, *self.checksums}
        return sorted(file.name for file in self.folder.iterdir() if file.name not in ours)

    def fingerprint(self) -> str:
        """Of the programs."""
        return hashlib.sha256("".join(sorted(self.checksums.values())).encode()).hexdigest()[:16]

    def check(self, program: Path) -> None:
        """Raises InputError if a program, or what lies beside it, is not what was written: engines may crash on it."""
        for name, digest in self.checksums.items():
            file = self.folder / name
            if file.stem == program.stem and _sha256(file) != digest:
                raise InputError(f"{file} is damaged: copy the folder again, or export it again")

    def _files(self) -> list[Path]:
        stems = {Path(file).stem for files in self.programs.values() for file in files.values()}
        return sorted(file for file in self.folder.iterdir() if file.stem in stems)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    return digest.hexdigest()


def is_deployment(path: str | Path | None) -> bool:
    """Whether a path is a deployment folder."""
    return path is not None and (Path(path) / FILE).is_file()

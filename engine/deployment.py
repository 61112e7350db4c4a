"""A deployment folder: a network as programs that inference engines load, and what a caller must know of them.

    inference.yaml            what this module reads and writes; every key says what it is
    config.yaml               the config it was made with, for this project's commands
    label.txt                 `NAME INDEX` lines
    model.pdmodel ...         the programs (engine/programs.py), and what lies beside them

Nothing here imports an engine, so a folder is read at once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from video_zoo.configs.schema import Config
from video_zoo.engine.backends.base import FRAME, INPUT, LOGITS, OUTPUT, Engine, state_input, state_output
from video_zoo.engine.programs import PROGRAMS
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file, whole_folder
from video_zoo.utils.json_files import check_fields, is_count, is_flag, is_mapping, is_text, list_of, mapping_of
from video_zoo.utils.open_files import open_regular, read_regular
from video_zoo.utils.runtime import describe_processor
from video_zoo.utils.yaml_files import parse_yaml

FILE, CONFIG, LABELS = "inference.yaml", "config.yaml", "label.txt"
CHECKED_ON = "checked_on"  # the fact that says on which processor the programs were compared with the network
MADE_FROM = "made_from"  # the fact by which export.py knows a folder that needs not be made again
_VERSION = 1
_MOST_BYTES = 8 << 20
_MOST_PROGRAM_BYTES = 8 << 30
_PROCESSOR = {"processor": is_text, "instructions": mapping_of(is_flag)}
_FIELDS = {
    "version": is_count,
    "model": is_text,
    "labels": list_of(is_text),
    "programs": mapping_of(mapping_of(is_text)),
    "checksums": mapping_of(is_text),
    "input": is_mapping,
    "output": is_mapping,
}
_FACTS = {
    "parity": is_mapping,
    MADE_FROM: mapping_of(is_text),
    CHECKED_ON: lambda said: check_fields(said, _PROCESSOR) is said,
}


@dataclass(frozen=True)
class Deployment:
    """What inference.yaml says.

    Args:
        folder: where it lies.
        model: TSM, TSN ...
        names: of the classes, by index.
        shape: of a clip, (T, 3, H, W); of a folder that follows streams, of a frame, (3, H, W).
        programs: kind -> precision -> file.
        facts: whatever else a caller should know, for readers of the file; read are only those of the comparison, and
            what the folder was made from.
        checksums: file -> SHA-256, of the programs and of what lies beside them, the config and the labels, too.
        state: of a folder that follows streams: name -> shape of each tensor of a stream's state.
    """

    folder: Path
    model: str
    names: list[str]
    shape: tuple[int, ...]
    programs: dict[str, dict[str, str]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    state: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Deployment:
        """Raises InputError: no such file, or it is damaged, or a program that it names is missing."""
        folder = whole_folder(folder)
        path = folder / FILE
        try:
            text = read_regular(path, _MOST_BYTES).decode("utf-8")
            said = check_fields(parse_yaml(text), {**_FIELDS, **_FACTS, "state": is_mapping}, needed=_FIELDS)
            names, programs, checksums = said["labels"], said["programs"], said["checksums"]
            shape = tuple(said["input"]["shape"][1:])
            state = {name: tuple(each["shape"][1:]) for name, each in said.get("state", {}).items()}
            files = {file for of_kind in programs.values() for file in of_kind.values()}
            sound = (
                said["version"] == _VERSION
                and len(shape) == (3 if state else 4)
                and shape[-3] == 3
                and all(is_count(size) for sizes in (shape, *state.values()) for size in sizes)
                and said["output"]["shape"] == [-1, len(names)]
                and all(of_kind.items() <= PROGRAMS[kind].files.items() for kind, of_kind in programs.items())
                and all(Path(file).name == file for file in checksums)
                and files <= checksums.keys()
            )
            facts = {key: dict(said[key]) for key in _FACTS if said.get(key)}
            found = cls(folder, said["model"], names, shape, programs, facts, checksums, state) if sound else None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        except (LookupError, TypeError, ValueError, AttributeError):
            found = None
        if found is None:
            raise InputError(f"{path} is damaged, or of another version; export.py makes the folder anew")
        return found

    def write(self) -> None:
        """Writes inference.yaml, with the checksums of the other files that are there. Raises InputError."""
        said = {
            "version": _VERSION,
            "model": self.model,
            **self._ports(),
            **self.facts,
            "programs": self.programs,
            "checksums": {file.name: _sha256(file) for file in self._files()},
            "labels": self.names,
        }
        with atomic_file(self.folder / FILE) as file:
            what = "one frame of each stream" if self.state else "whole clips"
            file.write(f"# Made by export.py. The programs take {what} of uint8 pixels: normalisation is inside.\n")
            yaml.safe_dump(said, file, sort_keys=False, allow_unicode=True)

    def _ports(self) -> dict[str, Any]:
        """What inference.yaml says of the programs' inputs and outputs."""
        frames = "" if self.state else "frames, "
        said = {
            "input": {
                "name": FRAME if self.state else INPUT,
                "dtype": "uint8",
                "shape": [-1, *self.shape],
                "layout": f"{'streams' if self.state else 'clips'}, {frames}R G B, rows, columns",
            },
            "output": {
                "name": LOGITS if self.state else OUTPUT,
                "dtype": "float32",
                "shape": [-1, len(self.names)],
            },
        }
        if self.state:
            said["online"] = (
                "a program is given one frame after the other; each input of the state is zeros when a stream begins,"
                " and then what came out of its output with the frame before"
            )
            said["state_bytes"] = state_bytes(self.state)
            said["state"] = {
                name: {
                    "input": state_input(name),
                    "output": state_output(name),
                    "dtype": "float32",
                    "shape": [-1, *shape],
                }
                for name, shape in self.state.items()
            }
        return said

    def check_online(self, online: bool, shape: tuple[int, ...]) -> None:
        """Raises InputError unless the programs follow streams of frames of that shape, if `online`, or else take
        clips."""
        if online and not self.state:
            raise InputError(
                f"{self.folder} takes whole clips, and cannot follow a stream frame by frame: export.py --online=True"
                " makes a folder that does, of a network trained with MODEL.shift = uni"
            )
        if self.state and not online:
            raise InputError(
                f"{self.folder} follows streams frame by frame, and takes no whole clips: infer.py --online takes it;"
                " export.py without --online makes a folder for clips"
            )
        if self.state and self.shape != tuple(shape):
            raise InputError(
                f"{self.folder} takes frames of {list(self.shape)}, and these are {list(shape)}: export again with the"
                " INFER.target_size that is wanted"
            )

    def program(self, kind: str, precision: str) -> Path | None:
        """The file of the program for a precision: its own, or that of the fp32 program, where that is run in it."""
        has_own = precision == "int8" or PROGRAMS[kind].made_for(precision)
        file = self.programs.get(kind, {}).get(precision if has_own else "fp32")
        return self.folder / file if file else None

    def other_processor(self) -> str | None:
        """The line that says where the programs were checked, if this processor computes with other instructions."""
        checked, here = self.facts.get(CHECKED_ON, {}), describe_processor()
        there = checked.get("instructions", {})
        known = [name for name in here["instructions"] if name in there]  # a version may know more of them
        if all(there[name] == here["instructions"][name] for name in known):
            return None
        there, this = (_list_instructions(each["instructions"], known) for each in (checked, here))
        return (
            f"{self.folder} was checked on another processor ({checked.get('processor')}, {there}) than this one"
            f" ({here['processor']}, {this}): probabilities may differ a little; export.py on this one checks it here"
        )

    def checked_bf16(self) -> bool:
        """Whether the programs were checked on a processor with bfloat16 arithmetic."""
        return "openvino bf16" in self.facts.get("parity", {})

    def foreign_files(self) -> list[str]:
        """What is in the folder and not of a deployment."""
        ours = {FILE, CONFIG, LABELS, *self.checksums}
        return sorted(file.name for file in self.folder.iterdir() if file.name not in ours)

    @property
    def path(self) -> Path:
        """Where it lies, as weights do."""
        return self.folder

    def sha256(self) -> str:
        """Of the checksums of all programs: it changes when one of them changes."""
        programs = [digest for name, digest in self.checksums.items() if name not in (CONFIG, LABELS)]
        return hashlib.sha256("".join(sorted(programs)).encode()).hexdigest()

    def obstacle(self, engine: Engine, precision: str) -> str | None:
        """Why an engine has nothing to load here; None if it has."""
        if engine.program is None:
            return f"it computes from a checkpoint, and {self.folder} is a deployment folder"
        if self.program(engine.program, precision) is None:
            flag = f" --{precision}=True" if PROGRAMS[engine.program].made_for(precision) else ""
            return f"{self.folder} has no {precision} program for it; export.py{flag} writes one"
        return None

    def check_settings(self, exported: Config, settings: Config, mode: str = "infer") -> None:
        """Raises InputError if the programs do not compute what the settings say.

        Args:
            exported: what the folder's config.yaml says.
            settings: the same with what this run's flags change.
            mode: whose clips the programs are given.
        """
        if exported.MODEL.class_names:  # a file of this machine would be read, and its lines shown as names
            raise InputError(
                f"{self.folder} is refused: its {CONFIG} names a file, {exported.MODEL.class_names!r}, as"
                f" MODEL.class_names, and {FILE} has the names; export.py writes none there"
            )
        keys = [key for key, value in asdict(exported.MODEL).items() if value != getattr(settings.MODEL, key)]
        changed = [f"MODEL.{key}" for key in keys if key not in ("class_names", "format")]
        if not self.state and settings.clip_shape(mode) != self.shape:  # of frames: check_online
            keys = f"{mode.upper()}.target_size, {mode.upper()}.seg_num"
            changed.append(f"a clip's size, {list(self.shape)}, would be {list(settings.clip_shape(mode))} ({keys})")
        if changed:
            raise InputError(
                f"{self.folder} was exported with other settings than the flags give, and cannot change:"
                f" {', '.join(changed)}. Leave those flags out, or export again."
            )
        if settings.MODEL.num_classes != len(self.names):
            raise InputError(f"{self.folder} is damaged: its {CONFIG} and {FILE} have other numbers of classes")

    def check(self, program: Path) -> None:
        """Raises InputError if a program, or what lies beside it, is not what was written: engines may crash on it."""
        for name in self.checksums:
            if Path(name).stem == program.stem:
                self._check_file(name)

    def damage(self) -> str | None:
        """What is missing, or is not what was written; None if the folder is whole."""
        try:
            for name in sorted({CONFIG, LABELS, *self.checksums}):
                self._check_file(name)
        except InputError as error:
            return str(error)
        return None

    def _check_file(self, name: str) -> None:
        if _sha256(self.folder / name) != self.checksums.get(name):
            raise InputError(f"{self.folder / name} is damaged: copy the folder again, or export it again")

    def _files(self) -> list[Path]:
        stems = {Path(file).stem for files in self.programs.values() for file in files.values()}
        return sorted(file for file in self.folder.iterdir() if file.stem in stems or file.name in (CONFIG, LABELS))


def state_bytes(state: Mapping[str, tuple[int, ...]]) -> int:
    """Of one stream's state, float32: name -> shape of each of its tensors."""
    return 4 * sum(math.prod(shape) for shape in state.values())


def _list_instructions(instructions: Mapping[str, bool], known: Sequence[str]) -> str:
    return " ".join(name for name in known if instructions[name]) or "none of the instructions that matter"


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open_regular(file, _MOST_PROGRAM_BYTES) as content:
            while block := content.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    return digest.hexdigest()


def is_deployment(path: str | Path | None) -> bool:
    """Whether a path is a deployment folder."""
    return path is not None and (whole_folder(path) / FILE).is_file()

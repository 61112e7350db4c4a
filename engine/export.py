"""What export.py does: which programs are written into a deployment folder, and what is said of how clips are made."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.engine.backends import ENGINES
from video_zoo.engine.backends.base import FRAME, state_input, state_output
from video_zoo.engine.backends.paddle_network import PaddleSteps
from video_zoo.engine.deployment import FILE, MADE_FROM, Deployment, is_deployment
from video_zoo.engine.programs import PROGRAMS, write_program
from video_zoo.utils.errors import InputError
from video_zoo.utils.log import logger
from video_zoo.utils.runtime import describe_versions

if TYPE_CHECKING:
    from paddle import nn

    from video_zoo.datareader.reader import VideoReader
    from video_zoo.engine.settings import Trained
    from video_zoo.models.network import VideoNetwork
    from video_zoo.utils.fluid_vars import VariableStore

Item = TypeVar("Item")
# precision -> the kind that has a program of its own for it, made of the float32 one
MADE_OF = {each: kind for kind, program in PROGRAMS.items() for each in program.files if program.made_for(each)}


def check_target(target: Path) -> None:
    """Raises InputError if something would be replaced that is no deployment folder."""
    if not target.exists() or target.is_dir() and not any(target.iterdir()):
        return
    if not (target / FILE).is_file():
        raise InputError(f"{target} is there, and no deployment folder: name another with --save_dir")
    try:
        foreign = Deployment.read(target).foreign_files()
    except InputError as error:
        raise InputError(f"{error}, once {target} is removed; or name another --save_dir") from error
    if foreign:
        raise InputError(
            f"{target} would be replaced, and holds {foreign[0]}, too: move it, or name another --save_dir"
        )


def made_from(
    trained: Trained, store: VariableStore, kinds: Sequence[str], readers: Mapping[str, VideoReader], frames: int = 0
) -> dict[str, str]:
    """What decides a deployment folder, as inference.yaml has it.

    Args:
        store: the weights.
        kinds: of programs.
        readers: of the videos, by what they are for.
        frames: of a stream that are compared; 0: the programs take clips.
    """
    decides = trained.what_decides("INFER", "TEST", "ONLINE")  # what infer.py and test.py read in the folder
    settings = json.dumps({"frames": frames, **decides}, sort_keys=True)
    return {
        "weights": store.sha256(),
        "settings": hashlib.sha256(settings.encode()).hexdigest(),
        **{f"videos {use}": _fingerprint(reader) for use, reader in readers.items()},
        "versions": ", ".join([describe_versions(), *_converters(kinds)]),
    }


def _converters(kinds: Sequence[str]) -> list[str]:
    """Of the packages that make such programs, the names and versions of those that are installed."""
    programs = [PROGRAMS[kind] for kind in kinds]
    modules = {module for each in programs for of in (each.packages, each.quantize_packages) for module in of()}
    found = []
    for module in sorted(modules):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{module} {version(module)}")
    return found


def _fingerprint(reader: VideoReader) -> str:
    """A hash of the list, and of the sizes of its files: another folder may have files of the same names."""
    digest = hashlib.sha256(reader.fingerprint().encode())
    for file in reader.files().values():
        with contextlib.suppress(OSError):  # it is not there, as the reader will say
            digest.update(f" {os.path.getsize(file)}".encode())
    return digest.hexdigest()


def is_finished(target: Path, wanted: Mapping[str, Sequence[str]], said: Mapping[str, str]) -> bool:
    """Whether a deployment folder is there that has all programs that are wanted and need not be made again; that, or
    why it is made again, is logged.

    Args:
        wanted: kind -> precisions.
        said: what `made_from` says now.
    """
    if not is_deployment(target):
        return False
    found = Deployment.read(target)
    programs = [f"{kind} {precision}" for kind, of_kind in wanted.items() for precision in of_kind]
    there = [f"{kind} {precision}" for kind, files in found.programs.items() for precision in files]
    before = found.facts.get(MADE_FROM)
    if before is None:
        why = "it does not say what it was made from"
    elif missing := [each for each in programs if each not in there]:
        why = f"it lacks {', '.join(missing)}"
    elif differ := [key for key, value in said.items() if before.get(key) != value]:
        why = f"it was made with other {', '.join(differ)}"
    else:
        why = found.other_processor() or found.damage()
    if why is None:
        logger.info(
            "%s is of these weights, settings and videos, and has %s: nothing is left to do; remove it to have it made"
            " anew",
            *(target, ", ".join(there)),
        )
        return True
    logger.info("%s is made anew: %s", target, why)
    if unwanted := [each for each in there if each not in programs]:
        logger.warning("what is not asked for now will be gone: %s", ", ".join(unwanted))
    return False


def choose_programs(asked: Sequence[str], lower: Sequence[str]) -> list[str]:
    """The kinds of programs to write: those asked for, or else all that can be written and compared here.

    Args:
        asked: kinds.
        lower: precisions that are to have programs of their own, fp16 or int8.

    Raises InputError if a package for one that was asked for is missing.
    """
    for precision in lower:
        kind = MADE_OF[precision]
        if asked and kind not in asked:
            raise InputError(f"--{precision}=True is made of the {kind} program: add {kind} to --programs")
    kinds = []
    for kind in asked or PROGRAMS:
        program, of_kind = PROGRAMS[kind], [each for each in lower if MADE_OF[each] == kind]
        needed = list(dict.fromkeys(program.missing("int8" in of_kind) + ENGINES.get(program.engine).missing()))
        if not needed:
            kinds.append(kind)
        elif asked or of_kind:
            raise InputError(f"a program for {kind} needs: pip install {' '.join(needed)}")
        else:
            logger.info("no program for %s: it needs pip install %s", kind, " ".join(needed))
    return kinds


def write_programs(
    kinds: Sequence[str],
    network: nn.Layer,
    shape: Sequence[int],
    folder: Path,
    state: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, dict[str, Path]]:
    """Writes a float32 program of each kind: kind -> precision -> file. Shape and state are `write_program`'s."""
    programs = {}
    for kind in kinds:
        file = folder / PROGRAMS[kind].files["fp32"]
        logger.info("writing %s", file.name)
        programs[kind] = {"fp32": write_program(kind, network, shape, file, state)}
    return programs


def add_fp16(programs: dict[str, dict[str, Path]]) -> None:
    """Writes the float16 program beside the float32 one that it is made of. Raises InputError."""
    files = programs[MADE_OF["fp16"]]
    file = _file_beside(files, "fp16")
    PROGRAMS[MADE_OF["fp16"]].halve(files["fp32"], file)
    files["fp16"] = file


def add_int8(programs: dict[str, dict[str, Path]], samples: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Writes the int8 program beside the float32 one that it is made of.

    Args:
        samples: its inputs by name, with one clip or stream each, to calibrate with.
    """
    files = programs[MADE_OF["int8"]]
    file = _file_beside(files, "int8")
    PROGRAMS[MADE_OF["int8"]].quantize(files["fp32"], samples, file)
    files["int8"] = file


def _file_beside(files: Mapping[str, Path], precision: str) -> Path:
    file = files["fp32"].with_name(PROGRAMS[MADE_OF[precision]].files[precision])
    logger.info("writing %s", file.name)
    return file


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most so many of a list, evenly from all over it: lists are often sorted by class."""
    count = min(count, len(items))
    return [items[place * len(items) // count] for place in range(count)]


def one_stream(settings: Config, frames: int) -> Config:
    """The settings with which a video's clip is so many consecutive frames of it."""
    model = replace(settings.MODEL, seglen=frames, frame_stride=1)
    return replace(settings, MODEL=model, INFER=replace(settings.INFER, seg_num=1, batch_size=1))


def stream_samples(
    network: VideoNetwork, state: Sequence[str], clips: Iterable[np.ndarray]
) -> list[dict[str, np.ndarray]]:
    """Of each clip of consecutive frames, uint8 (1, T, 3, H, W): what a program that follows streams is given with its
    last frame, by the names of its inputs.

    Args:
        state: the names of the network's state.
    """
    backend, samples = PaddleSteps(network, state), []
    for clip in clips:
        kept = {name: tensor.numpy() for name, tensor in network.initial_state(1, *clip.shape[3:]).items()}
        for frame in clip[0]:
            feeds = {FRAME: frame[None], **{state_input(name): kept[name] for name in state}}
            found = backend.run(feeds)
            kept = {name: found[state_output(name)] for name in state}
        samples.append(feeds)
    return samples


def describe_clips(settings: Config, online: bool = False) -> dict[str, Any]:
    """What inference.yaml says of how clips are made, or with `online` frames."""
    model, infer = settings.MODEL, settings.INFER
    stride = model.frame_stride
    middle = "(n - 1) // 2" if stride == 1 else f"(n - {(model.seglen - 1) * stride + 1}) // 2"
    sampling = {
        "segments": settings.seg_num("infer"),
        "consecutive_frames": model.seglen,
        "frame_stride": stride,
        "place": f"the middle of each of so many equal parts: part * n + {middle} of n = frames // segments",
    }
    return {
        **({} if online else {"sampling": sampling}),
        "scaling": {
            "shorter_side": infer.short_size,
            "keep_aspect": infer.keep_aspect,
            "longer_side": "in proportion with keep_aspect, or else 4/3 of shorter_side, rounded down",
            "interpolation": "bilinear, as Pillow's resize; a video whose shorter side fits is left alone",
            "crop_size": infer.target_size,
            "crop": "in the middle",
        },
        "normalisation": {"inside": True, "mean": list(model.image_mean), "std": list(model.image_std), "of": "0 to 1"},
    }

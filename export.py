"""Writes a deployment folder: `python export.py --model_name=TSM --weights=checkpoints/TSM_best --input=clips/`.

It holds the network as programs for Paddle Inference, ONNX Runtime and OpenVINO, and inference.yaml, which says how to
use them; infer.py takes it as --weights. A program is written only if it computes what the network computes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader import open_reader
from video_zoo.datareader.inputs import find_inputs
from video_zoo.datareader.labels import names_of, write_class_names
from video_zoo.datareader.video_list import Video
from video_zoo.engine.backends import ENGINES, Job
from video_zoo.engine.deployment import CONFIG, ENGINE_OF, FILE, LABELS, PROGRAMS, Deployment, missing_converters
from video_zoo.models import MODELS, load_trained
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_folder, remove_leftovers
from video_zoo.utils.log import logger, set_up_logging
from video_zoo.utils.paddle_env import start_paddle
from video_zoo.utils.runtime import compute_threads

_BATCH = 2  # clips at once, when programs are compared


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(
        description="Writes a deployment folder. In brackets: what a flag left out means.",
        epilog="examples:\n"
        "  python export.py --model_name=TSM --weights=checkpoints/TSM_best --input=clips/\n"
        "  python export.py --model_name=TSM --filelist=val.list --int8=True --calibration=train.list\n"
        "  python infer.py --model_name=TSM --weights=exported/TSM --input=clips/",
    )
    cli.add_common_flags(parser, MODELS)
    cli.add_weights_flag(parser)
    parser.add_argument("--save_dir", type=cli.path, metavar="DIR", help="the deployment folder (exported/MODEL_NAME)")
    parser.add_argument(
        "--programs",
        nargs="+",
        choices=tuple(PROGRAMS),
        metavar="KIND",
        help=f"{', '.join(PROGRAMS)} (those whose packages are installed)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--filelist", type=cli.optional_path, metavar="FILE", help="videos to compare with (config)")
    what.add_argument("--input", nargs="+", type=cli.path, metavar="WHAT", help="the same as files, folders or globs")
    parser.add_argument("--clips", type=cli.positive_int, default=64, metavar="N", help="compared, at most (64)")
    parser.add_argument(
        "--int8", type=cli.boolean, default=False, metavar="BOOL", help="an int8 program for OpenVINO, too (False)"
    )
    parser.add_argument("--calibration", type=cli.optional_path, metavar="FILE", help="int8's list (config: TRAIN's)")
    parser.add_argument(
        "--calibration_clips", type=cli.positive_int, default=128, metavar="N", help="taken of it, at most (128)"
    )
    args = parser.parse_args()
    if args.calibration and not args.int8:
        parser.error("--calibration is of --int8=True, which is missing")
    return args


def main() -> None:
    args = parse_arguments()
    set_up_logging()
    settings = cli.load_config(args, Config, {"INFER": {"filelist": args.filelist}}, MODELS)
    names_of(settings.MODEL)  # a wrong file is said before anything is started
    target = Path(args.save_dir or f"exported/{settings.MODEL.name.upper()}").resolve()
    check_target(target)
    kinds = choose_programs(args)
    videos = choose_videos(args)
    remove_leftovers(target.parent, target.name)
    start_paddle(args.use_gpu)

    from video_zoo.engine.export import quantize_openvino, write_program
    from video_zoo.engine.parity import check_programs

    name = settings.MODEL.name.upper()
    several = replace(settings, INFER=replace(settings.INFER, batch_size=_BATCH))
    with open_reader("infer", several, videos=videos) as reader:
        network, info = load_trained(settings, "infer", args.weights)
        names = names_of(settings.MODEL, trained=info.get("classes"))
        with atomic_folder(target) as folder:
            programs = {}
            for kind in kinds:
                file = PROGRAMS[kind]["fp32"]
                logger.info("writing %s", file)
                write_program(kind, network, settings.clip_shape("infer"), folder / file)
                programs[kind] = {"fp32": file}
            if args.int8:
                file = PROGRAMS["openvino"]["int8"]
                logger.info("writing %s", file)
                clips = calibration_clips(args, settings)
                quantize_openvino(folder / programs["openvino"]["fp32"], clips, folder / file)
                programs["openvino"]["int8"] = file
            files = {kind: {each: folder / file for each, file in found.items()} for kind, found in programs.items()}
            reader.videos = spread(reader.videos, args.clips)
            job = Job(threads=compute_threads(), clip_shape=settings.clip_shape("infer"))
            facts = {**describe(settings), "parity": check_programs(network, reader, args.clips, files, job)}
            Deployment(folder, name, names, job.clip_shape, programs, facts).write()
            model = replace(settings.MODEL, class_names=None)  # inference.yaml has them
            config.write(folder / CONFIG, replace(settings, MODEL=model), "What export.py was given.")
            write_class_names(folder / LABELS, names)
    logger.info("%s is ready: python infer.py --model_name=%s --weights=%s --input=...", target, name, target)


def check_target(target: Path) -> None:
    """Raises InputError if something would be replaced that is no deployment folder."""
    if not target.exists() or target.is_dir() and not any(target.iterdir()):
        return
    if not (target / FILE).is_file():
        raise InputError(f"{target} is there, and no deployment folder: name another with --save_dir")
    foreign = Deployment.read(target).foreign_files()
    if foreign:
        raise InputError(
            f"{target} would be replaced, and holds {foreign[0]}, too: move it, or name another --save_dir"
        )


def choose_videos(args: argparse.Namespace) -> list[Video] | None:
    """The videos of --input; None: the list's. Raises InputError."""
    if not args.input:
        return None
    inputs = find_inputs(args.input)
    if inputs.streams:
        raise InputError(f"--input: programs are compared on videos, and {inputs.streams[0]} is a stream")
    return inputs.videos


def choose_programs(args: argparse.Namespace) -> list[str]:
    """The kinds of programs to write. Raises InputError if a package for one that was asked for is missing."""
    asked = args.programs or []
    if args.int8 and args.programs and "openvino" not in asked:
        raise InputError("--int8=True is made of OpenVINO's program: add openvino to --programs")
    kinds = []
    for kind in asked or PROGRAMS:
        needed = missing_programs(kind, args.int8)
        if not needed:
            kinds.append(kind)
        elif asked or (kind == "openvino" and args.int8):
            raise InputError(f"a program for {kind} needs: pip install {' '.join(needed)}")
        else:
            logger.info("no program for %s: it needs pip install %s", kind, " ".join(needed))
    return kinds


def missing_programs(kind: str, int8: bool) -> list[str]:
    """The pip names of what writing a kind of program, and comparing it, lacks."""
    missing = missing_converters(kind) + ENGINES.get(ENGINE_OF[kind]).missing()
    missing += missing_converters("int8") if int8 and kind == "openvino" else []
    return list(dict.fromkeys(missing))


def spread(videos: list, count: int) -> list:
    """At most so many of a list, evenly from all over it: lists are often sorted by class."""
    count = min(count, len(videos))
    return [videos[place * len(videos) // count] for place in range(count)]


def calibration_clips(args: argparse.Namespace, settings: Config) -> list[np.ndarray]:
    """uint8 (1, T, C, H, W) each. Raises InputError."""
    filelist = args.calibration or settings.TRAIN.filelist
    infer = replace(settings.INFER, filelist=filelist, batch_size=1)
    with open_reader("infer", replace(settings, INFER=infer)) as reader:
        reader.videos = spread(reader.videos, args.calibration_clips)
        clips = [batch.clips for batch in reader]
        reader.report_failures()
    if not clips:
        raise InputError(f"no video of {filelist} can be read to calibrate int8 with")
    return clips


def describe(settings: Config) -> dict[str, Any]:
    """What inference.yaml says of how clips are made."""
    model, infer = settings.MODEL, settings.INFER
    return {
        "sampling": {
            "segments": settings.seg_num("infer"),
            "consecutive_frames": model.seglen,
            "place": "the middle of each of so many equal parts: part * n + (n - 1) // 2 of n = frames // segments",
        },
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


if __name__ == "__main__":
    cli.run(main)

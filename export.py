"""Writes a deployment folder: `python export.py --model_name=TSM --weights=checkpoints/TSM_best --input=clips/`.

It holds the network as programs for Paddle Inference, ONNX Runtime and OpenVINO, and inference.yaml, which says how to
use them; infer.py takes it as --weights. A program is written only if it computes what the network computes.
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()
from video_zoo.utils.paddle_env import start_paddle  # isort: split

import argparse
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader import open_reader
from video_zoo.datareader.inputs import find_inputs
from video_zoo.datareader.labels import write_class_names
from video_zoo.datareader.video_list import Video
from video_zoo.engine import export
from video_zoo.engine.backends.base import INPUT, Job
from video_zoo.engine.deployment import CHECKED_ON, CONFIG, LABELS, MADE_FROM, Deployment, is_deployment
from video_zoo.engine.parity import check_programs
from video_zoo.engine.programs import PROGRAMS
from video_zoo.engine.settings import Trained, settings_of
from video_zoo.models import MODELS
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_folder
from video_zoo.utils.log import logger, set_up_logging
from video_zoo.utils.runtime import compute_threads, describe_processor

if TYPE_CHECKING:
    from video_zoo.datareader.reader import VideoReader
    from video_zoo.models.network import VideoNetwork

_BATCH = 2  # clips at once, when programs are compared
_FRAMES_BEFORE = 7  # of a stream, before the one that int8 is calibrated with: a state that is usual


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(
        description="Writes a deployment folder. In brackets: what a flag left out means.",
        epilog="examples:\n"
        "  python export.py --model_name=TSM --weights=checkpoints/TSM_best --input=clips/\n"
        "  python export.py --model_name=TSM --filelist=val.list --int8=True --calibration=train.list\n"
        "  python export.py --model_name=TSM --weights=checkpoints/TSM_best --input=clips/ --online=True\n"
        "  python infer.py --model_name=TSM --weights=exported/TSM --input=clips/",
    )
    cli.add_common_flags(parser, MODELS, Config, "INFER")
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
    what.add_argument("--filelist", type=cli.input_path, metavar="FILE", help="videos to compare with (config)")
    what.add_argument("--input", nargs="+", type=cli.path, metavar="WHAT", help="the same as files, folders or globs")
    parser.add_argument(
        "--clips", type=cli.positive_int, default=64, metavar="N", help="compared, at most; online: frames (64)"
    )
    parser.add_argument(
        "--int8", type=cli.boolean, default=False, metavar="BOOL", help="an int8 program for OpenVINO, too (False)"
    )
    parser.add_argument(
        "--fp16", type=cli.boolean, default=False, metavar="BOOL", help="a float16 program for GPUs, too (False)"
    )
    parser.add_argument(
        "--online",
        type=cli.boolean,
        default=False,
        metavar="BOOL",
        help="programs that follow streams frame by frame, for infer.py --online; of MODEL.shift = uni (False)",
    )
    parser.add_argument("--calibration", type=cli.input_path, metavar="FILE", help="int8's list (config: TRAIN's)")
    parser.add_argument(
        "--calibration_clips", type=cli.positive_int, default=128, metavar="N", help="taken of it, at most (128)"
    )
    args = parser.parse_args()
    if args.calibration and not args.int8:
        parser.error("--calibration is of --int8=True, which is missing")
    if args.online and args.fp16:
        parser.error("--fp16=True is of programs that take clips: leave it out with --online=True")
    return args


def main() -> None:
    args = parse_arguments()
    set_up_logging()
    if is_deployment(args.weights):
        raise InputError(f"--weights={args.weights} is a deployment folder already: give a checkpoint")
    trained = settings_of(args, {"INFER": {"filelist": args.filelist}}, "infer")
    settings = trained.settings
    place = args.save_dir or f"exported/{settings.MODEL.name.upper()}"
    target = Path(place).resolve()
    export.check_target(target)
    lower = [each for each in export.MADE_OF if getattr(args, each)]
    kinds = export.choose_programs(args.programs or [], lower)
    videos = choose_videos(args)
    start_paddle(args.use_gpu)
    transform = MODELS.get(settings.MODEL.name).eval_transform
    compared = replace(settings, INFER=replace(settings.INFER, batch_size=_BATCH))
    if args.online:
        compared = export.one_stream(settings, args.clips)
    with contextlib.ExitStack() as stack:
        readers = {"to compare": stack.enter_context(open_reader("infer", compared, transform, videos=videos))}
        readers["to compare"].videos = export.spread(readers["to compare"].videos, args.clips)
        if args.int8:
            readers["to calibrate"] = stack.enter_context(open_calibration(args, settings))
        network, store = trained.source("infer")()
        made_from = export.made_from(trained, store, kinds, readers, frames=args.clips if args.online else 0)
        wanted = {kind: ["fp32", *(each for each in lower if export.MADE_OF[each] == kind)] for kind in kinds}
        if export.is_finished(target, wanted, made_from):
            return
        write_folder(args, trained, network, kinds, readers, target, made_from)
    how = "--online --input" if args.online else "--input"
    logger.info("%s is ready: python infer.py --weights=%s %s=...", place, place, how)


def write_folder(
    args: argparse.Namespace,
    trained: Trained,
    network: VideoNetwork,
    kinds: list[str],
    readers: dict[str, VideoReader],
    target: Path,
    made_from: dict[str, str],
) -> None:
    """Writes programs of these kinds, compares them with the network, and gives the folder its name. Raises
    InputError."""
    settings, reader = trained.settings, readers["to compare"]
    shape = settings.clip_shape("infer")[1 if args.online else 0 :]
    state = network.state_shapes(*shape[1:]) if args.online else {}
    with atomic_folder(target) as folder:
        programs = export.write_programs(kinds, network, shape, folder, state)
        if args.fp16:
            export.add_fp16(programs)
        if args.int8:
            export.add_int8(programs, calibration_samples(args, readers["to calibrate"], network, list(state)))
        job = Job(threads=compute_threads(), clip_shape=shape, state=state)
        most = args.clips if args.online else len(reader)
        parity = check_programs(network, reader, most, programs, job)
        facts = {**export.describe_clips(settings, args.online), MADE_FROM: made_from, "parity": parity}
        files = {kind: {each: file.name for each, file in of.items()} for kind, of in programs.items()}
        facts[CHECKED_ON] = describe_processor()
        name = settings.MODEL.name.upper()
        model = replace(settings.MODEL, class_names=None)  # inference.yaml has them
        config.write(folder / CONFIG, replace(settings, MODEL=model), "What export.py was given.")
        write_class_names(folder / LABELS, trained.names)
        Deployment(folder, name, trained.names, shape, files, facts, state=state).write()


def choose_videos(args: argparse.Namespace) -> list[Video] | None:
    """The videos of --input; None: the list's. Raises InputError."""
    if not args.input:
        return None
    inputs = find_inputs(args.input)
    if inputs.streams:
        raise InputError(f"--input: programs are compared on videos, and {inputs.streams[0]} is a stream")
    return inputs.videos


def open_calibration(args: argparse.Namespace, settings: Config) -> VideoReader:
    """Reads what int8 is calibrated with. Raises InputError."""
    filelist = args.calibration or settings.TRAIN.filelist
    settings = replace(settings, INFER=replace(settings.INFER, filelist=filelist, batch_size=1))
    if args.online:
        settings = export.one_stream(settings, _FRAMES_BEFORE + 1)
    reader = open_reader("infer", settings, MODELS.get(settings.MODEL.name).eval_transform)
    reader.videos = export.spread(reader.videos, args.calibration_clips)
    return reader


def calibration_samples(
    args: argparse.Namespace, reader: VideoReader, network: VideoNetwork, state: list[str]
) -> list[dict[str, np.ndarray]]:
    """Inputs of the program, by name, with one clip or frame each. Raises InputError."""
    clips = [batch.clips for batch in reader]
    reader.report_failures()
    if not clips:
        raise InputError(f"no video of {reader.list_path} can be read to calibrate int8 with")
    return export.stream_samples(network, state, clips) if args.online else [{INPUT: clip} for clip in clips]


if __name__ == "__main__":
    cli.run(main)

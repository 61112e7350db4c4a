"""Predicts the classes of videos: `python infer.py --model_name=TSM --input=FOLDER`, or `--filelist=my.list`.

Nothing here imports Paddle before `start_paddle` has set its threads and flags; reader processes never do, and a
deployment folder (export.py) need not.
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import argparse
import contextlib
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader.inputs import find_inputs
from video_zoo.datareader.reader import VideoReader
from video_zoo.datareader.sampling import Windows
from video_zoo.datareader.stream import StreamReader
from video_zoo.engine.backends import add_engine_flags
from video_zoo.engine.inference import open_backend, open_features
from video_zoo.engine.online import predict_online
from video_zoo.engine.page import Page
from video_zoo.engine.predict import Tee, predict
from video_zoo.engine.predictions import Features
from video_zoo.engine.result_files import ResultFiles, check_made_with, finished_videos
from video_zoo.engine.settings import Trained, settings_of
from video_zoo.engine.sources import open_input
from video_zoo.models import MODELS
from video_zoo.utils import cli, config, stop
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import make_folder
from video_zoo.utils.fluid_vars import fingerprint
from video_zoo.utils.log import Progress, logger, set_up_logging

if TYPE_CHECKING:
    from video_zoo.engine.annotate import Annotator
    from video_zoo.engine.backends.paddle_network import FeatureNetwork
    from video_zoo.engine.results import Prediction


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(
        description="Predicts the classes of videos and streams. In brackets: what a flag left out means.",
        epilog="examples:\n"
        "  python infer.py --model_name=TSM --filelist=my.list\n"
        "  python infer.py --model_name=TSM --input holiday.mp4 'clips/*.mp4' more_clips/ --html=page.html\n"
        "  python infer.py --model_name=TSM --input=match.mp4 --window_s=4 --stride_s=2 --save_video=annotated\n"
        "  python infer.py --model_name=TSM --input=rtsp://camera/1 --window_s=2\n"
        "  python infer.py --model_name=TSM --config=my.yaml --weights=TSM_best --online --input=0\n"
        "my.list names a video a line; a label behind it is not looked at",
    )
    add, seconds, path = parser.add_argument, cli.positive_seconds, cli.optional_path
    cli.add_common_flags(parser, MODELS, Config, "INFER", "ONLINE")
    cli.add_weights_flag(parser)
    add_engine_flags(parser)
    add("--batch_size", type=cli.positive_int, metavar="N", help="clips a step (config: 1)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--filelist", type=cli.input_path, metavar="FILE", help="the list of videos (config)")
    what.add_argument(
        "--input",
        nargs="+",
        action="extend",
        type=lambda text: cli.input_path(text) or "",
        metavar="WHAT",
        help="files, folders, globs; a stream's URL, or a camera",
    )
    switch = {"type": cli.boolean, "default": False, "metavar": "BOOL"}
    add("--online", **switch, help="frame by frame: events, with a TSM trained with MODEL.shift=uni (False)")
    add("--window_s", type=seconds, metavar="S", help="predicts windows of S seconds (whole videos)")
    add("--stride_s", type=seconds, metavar="S", help="from one to the next (window_s)")
    add("--duration_s", type=seconds, metavar="S", help="a stream's end (none)")
    add("--log_interval", type=cli.count, default=1, metavar="N", help="steps between log lines; 0: none (1)")
    add("--infer_topk", type=cli.positive_int, default=20, metavar="K", help="classes kept of each video (20)")
    add(
        "--save_dir",
        type=cli.path,
        default="./",
        metavar="DIR",
        help="for MODEL_infer_result.jsonl, .csv and, of whole videos, .pkl; or MODEL_online_* (./)",
    )
    add("--html", type=path, metavar="FILE", help="a page of film strips and bars")
    add("--save_video", type=path, metavar="DIR", help="the videos with the top 3 on them")
    add("--features", **switch, help="also the network's vectors, MODEL_infer_features.npz; in Paddle (False)")
    add("--show", **switch, help="a window with the top 3, of --online (False)")
    add("--resume", **switch, help="goes on where a run was stopped (False)")
    args = parser.parse_args()
    if args.stride_s and not args.window_s:
        parser.error("--stride_s is of --window_s, which is missing")
    if args.features and (args.resume or args.engine not in (None, "auto", "paddle") or args.precision != "fp32"):
        parser.error(
            "--features are computed in Paddle, in fp32 and in one run: without --engine, --precision, --resume"
        )
    if args.show and not args.online:
        parser.error("--show is of --online, which is missing")
    if args.online:
        if not args.input:
            parser.error("--online needs --input=WHAT: a camera, an address or videos")
        others = ("window_s", "stride_s", "html", "resume", "batch_size", "features")
        if given := [f"--{name}" for name in others if getattr(args, name)]:
            parser.error(f"--online goes frame by frame, and knows no {' and no '.join(given)}")
    return args


def main() -> None:
    args = parse_arguments()
    set_up_logging()
    flags: config.Values = {"INFER": {"batch_size": args.batch_size, "filelist": args.filelist}}
    if args.online:
        flags["ONLINE"] = {}
    trained = settings_of(args, flags, "infer")
    settings, names = trained.settings, trained.names
    folder = make_folder(args.save_dir)
    if args.online:
        follow(args, trained, folder)
        return
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(open_source(args, settings))
        if args.resume and is_finished(args, trained, folder, reader):
            return
        annotator = open_annotator(args, settings, reader) if args.save_video else None
        if args.features:
            backend = open_features(trained.source("infer"), args.use_gpu)
        else:
            job = (args.precision, args.use_gpu, settings.INFER.batch_size, settings.clip_shape("infer"))
            backend, _ = open_backend(trained.source("infer"), args.engine or "auto", *job)
        files = stack.enter_context(open_files(args, trained, folder, backend.description, reader))
        if args.resume:
            reader.videos = [reader.videos[place] for place in files.remaining([each.path for each in reader.videos])]
            logger.info("%d predictions are there; %d videos are left", files.rows, len(reader.videos))
        if isinstance(reader, VideoReader) and settings.MODEL.format != "pkl":
            stop.say_when_stopped(f"What is done is kept; to go on: {cli.command_again('--resume=True')}")
        write = Tee(files, names, print_all=bool(args.window_s))
        progress = Progress(None if args.window_s else len(reader), "windows" if args.window_s else "videos")
        predict(backend, reader, args.infer_topk, progress, write, log_interval=args.log_interval)
        if annotator:
            annotator.annotate_all(files.predictions(), names)
        features = save_features(settings, backend, list(files.predictions()), folder) if args.features else []
        paths = [*files.finish(), *features]
        stop.say_when_stopped(None)
        reader.report_failures()
        logger.info("[INFER] infer finished. %d predictions, %s", files.rows, progress)
        if paths:
            logger.info("results: %s", ", ".join(map(str, [*paths, *filter(None, [args.save_video])])))
        if len(reader):
            reader.check_failures()
        if annotator:
            annotator.check_failures()
        if not paths:
            raise InputError("nothing was predicted: no file was written, and the results of an earlier run are kept")


def follow(args: argparse.Namespace, trained: Trained, folder: Path) -> None:
    """Predicts frame by frame. Raises InputError if the network cannot."""
    settings = trained.settings
    shift = getattr(settings.MODEL, "shift", None)
    if shift != "uni":
        why = f"MODEL.shift is {shift}, which needs frames of the future" if shift else "it needs whole clips"
        raise InputError(
            f"{settings.MODEL.name.upper()} cannot follow a stream frame by frame: {why}. Train a TSM with"
            " --set MODEL.shift=uni, or predict windows: --window_s=2 in place of --online"
        )
    if not trained.weights:
        raise InputError("--online needs --weights=PATH: no released weights are of a network with MODEL.shift=uni")
    predict_online(
        trained.source("infer"),
        settings,
        find_inputs(args.input),
        MODELS.get(settings.MODEL.name).eval_transform,
        trained.names,
        folder,
        engine=args.engine or "auto",
        precision=args.precision,
        use_gpu=args.use_gpu,
        duration_s=args.duration_s,
        log=args.log_interval > 0,
        save_video=args.save_video,
        show=args.show,
    )


def open_source(args: argparse.Namespace, settings: Config) -> VideoReader | StreamReader:
    """Reads the list, the videos, their windows, or the stream, as the flags say."""
    inputs = find_inputs(args.input) if args.input else None
    if args.resume and (settings.MODEL.format == "pkl" or inputs and inputs.streams):
        raise InputError("--resume=True is for lists of video files: a stream, or a pickle, cannot be found again")
    windows = Windows(args.window_s, args.stride_s or args.window_s) if args.window_s else None
    return open_input(settings, inputs, windows, duration_s=args.duration_s)


def save_features(settings: Config, network: FeatureNetwork, predictions: list[Prediction], folder: Path) -> list[Path]:
    """Writes the vectors of what was predicted; returns the file, or none without predictions."""
    if not predictions:
        return []
    path = folder / f"{settings.MODEL.name.upper()}_infer_features.npz"
    sources, spans = [each.video_id for each in predictions], [each.span for each in predictions]
    Features(np.concatenate(network.collected), sources, spans).save(path)
    return [path]


def open_annotator(args: argparse.Namespace, settings: Config, reader: VideoReader | StreamReader) -> Annotator:
    """Raises InputError: there are no video files, or one of them would be overwritten."""
    if isinstance(reader, StreamReader) or settings.MODEL.format != "mp4":
        raise InputError("--save_video is for video files: a stream, pickles or folders of images cannot be annotated")
    from video_zoo.engine.annotate import Annotator

    return Annotator(reader.files(), args.save_video, keep=args.resume, decoder=settings.INFER.decoder)


def result_stem(settings: Config) -> str:
    """What the names of the result files begin with."""
    return f"{settings.MODEL.name.upper()}_infer_result"


def is_finished(args: argparse.Namespace, trained: Trained, folder: Path, reader: VideoReader) -> bool:
    """Whether an earlier pass is through with all videos and has written what is asked for, which is said. Raises
    InputError: it has nothing of some of them, or had other weights or settings."""
    stem = result_stem(trained.settings)
    done, asked = finished_videos(folder, stem, windows=bool(args.window_s)), {video.path for video in reader.videos}
    others = [path for path in (args.html, args.save_video) if path and not Path(path).exists()]
    if done is not None and (missing := sorted(asked - done)):
        raise InputError(
            f"{folder / stem}.jsonl is complete, and has nothing of {len(missing)} of {len(asked)} videos, the first is"
            f" {missing[0]}: it could not be read, or was not asked for. Without --resume all are predicted anew; or"
            " choose another folder"
        )
    if others or done != asked:
        return False
    check_made_with(folder, stem, made_with(args, trained))
    logger.info(
        "%s has the predictions of all %d videos: nothing is left to do. Without --resume they are made anew",
        *(folder / f"{stem}.jsonl", len(done)),
    )
    return True


def made_with(args: argparse.Namespace, trained: Trained) -> dict[str, Any]:
    """What a pass that goes on must have in common with the one that was stopped."""
    return {
        "weights": os.path.abspath(trained.weights) if trained.weights else "released",
        "state": trained.deployment.sha256() if trained.deployment else fingerprint(trained.weights),
        "precision": args.precision,
        "topk": args.infer_topk,
        "window_s": args.window_s,
        "stride_s": args.stride_s,
        **trained.what_decides("INFER"),
    }


def open_files(
    args: argparse.Namespace, trained: Trained, folder: Path, description: str, reader: VideoReader | StreamReader
) -> ResultFiles:
    """The result files, and the page. Raises InputError if the page has no place."""
    settings, names = trained.settings, trained.names
    stem = result_stem(settings)
    if args.html and Path(args.html).is_dir():
        raise InputError(f"--html={args.html} is a folder: give the page's file")
    if args.html and Path(args.html).name.startswith(stem) and Path(args.html).suffix != ".html":
        raise InputError(f"--html={args.html} is the name of a result: end it in .html")
    title, step = f"{settings.MODEL.name.upper()}, {len(names)} classes", settings.MODEL.seglen
    page = None
    if args.html:
        made = [
            f"weights {trained.weights or 'released'}",
            f"made {datetime.now(timezone.utc).isoformat(timespec='seconds')}",
        ]
        files = reader.files() if isinstance(reader, VideoReader) and settings.MODEL.format == "mp4" else None
        page = Page(Path(args.html), names, title, step=step, notes=[description, *made], files=files)
    return ResultFiles(folder, stem, names, settings=made_with(args, trained), resume=args.resume, page=page)


if __name__ == "__main__":
    cli.run(main)

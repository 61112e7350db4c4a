"""Predicts the classes of videos: `python infer.py --model_name=TSM --input=FOLDER`, or `--filelist=my.list`.

Nothing here imports Paddle before `start_paddle` has set its threads and flags; reader processes never do, and a
deployment folder (export.py) need not.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import tempfile
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from video_zoo.configs.schema import Config
from video_zoo.datareader import open_reader
from video_zoo.datareader.inputs import find_inputs
from video_zoo.datareader.labels import names_of
from video_zoo.datareader.reader import VideoReader
from video_zoo.datareader.sampling import Windows
from video_zoo.datareader.stream import StreamReader
from video_zoo.datareader.video_list import listed_videos, resolve
from video_zoo.engine.backends import Backend, Engine, Job, choose_engine
from video_zoo.engine.deployment import CONFIG, FILE, Deployment, is_deployment, missing_converters
from video_zoo.engine.page import Page
from video_zoo.engine.predict import predict
from video_zoo.engine.result_files import ResultFiles
from video_zoo.engine.results import Prediction, format_table
from video_zoo.models import MODELS, load_trained
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import make_folder
from video_zoo.utils.fluid_vars import fingerprint
from video_zoo.utils.log import Progress, logger, set_up_logging
from video_zoo.utils.runtime import compute_threads, has_nvidia_driver

_TABLES = 20  # predictions printed; the files have all


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(
        description="Predicts the classes of videos and streams. In brackets: what a flag left out means.",
        epilog="examples:\n"
        "  python infer.py --model_name=TSM --filelist=my.list\n"
        "  python infer.py --model_name=TSM --input holiday.mp4 'clips/*.mp4' more_clips/ --html=page.html\n"
        "  python infer.py --model_name=TSM --input=match.mp4 --window_s=4 --stride_s=2 --save_video=annotated\n"
        "  python infer.py --model_name=TSM --input=rtsp://camera/1 --window_s=2\n"
        "my.list names a video a line; a label behind it is not looked at",
    )
    cli.add_common_flags(parser, MODELS)
    cli.add_weights_flag(parser)
    cli.add_engine_flags(parser)
    parser.add_argument("--batch_size", type=cli.positive_int, metavar="N", help="clips a step (config: 1)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--filelist", type=cli.optional_path, metavar="FILE", help="the list of videos (config)")
    what.add_argument(
        "--input",
        nargs="+",
        type=cli.path,
        metavar="WHAT",
        help="files, folders, globs; or a stream's URL, or a camera",
    )
    parser.add_argument(
        "--window_s", type=cli.positive_seconds, metavar="S", help="predicts windows of S seconds (whole videos)"
    )
    parser.add_argument("--stride_s", type=cli.positive_seconds, metavar="S", help="from one to the next (window_s)")
    parser.add_argument("--duration_s", type=cli.positive_seconds, metavar="S", help="a stream's end (none)")
    parser.add_argument(
        "--log_interval", type=cli.count, default=1, metavar="N", help="steps between log lines; 0: none (1)"
    )
    parser.add_argument(
        "--infer_topk", type=cli.positive_int, default=20, metavar="K", help="classes kept of each video (20)"
    )
    parser.add_argument(
        "--save_dir", type=cli.path, default="./", metavar="DIR", help="for MODEL_infer_result.jsonl, .csv, .pkl (./)"
    )
    parser.add_argument("--html", type=cli.optional_path, metavar="FILE", help="a page of film strips and bars")
    parser.add_argument("--save_video", type=cli.optional_path, metavar="DIR", help="the videos with the top 3 on them")
    parser.add_argument(
        "--resume", type=cli.boolean, default=False, metavar="BOOL", help="goes on where a run was stopped (False)"
    )
    args = parser.parse_args()
    if args.stride_s and not args.window_s:
        parser.error("--stride_s is of --window_s, which is missing")
    return args


def main() -> None:
    args = parse_arguments()
    set_up_logging()
    deployment = Deployment.read(Path(args.weights)) if is_deployment(args.weights) else None
    settings = load_settings(args, deployment)
    names = names_of(settings.MODEL, trained=deployment.names if deployment else None)  # a wrong file is said at once
    folder = make_folder(args.save_dir)
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(choose_reader(args, settings))
        sources, targets = plan_annotation(args, settings, reader) if args.save_video else ({}, {})
        backend, info = open_backend(args, settings, deployment)
        if deployment is None:
            names = names_of(settings.MODEL, trained=info.get("classes"))
        files = stack.enter_context(open_files(args, settings, folder, names, backend.description, deployment))
        if args.resume:
            reader.videos = [reader.videos[place] for place in files.remaining([each.path for each in reader.videos])]
            logger.info("%d predictions are there; %d videos are left", files.rows, len(reader.videos))
        write = Tee(files, names, print_all=bool(args.window_s))
        progress = Progress(None if args.window_s else len(reader), "windows" if args.window_s else "videos")
        predict(backend, reader, args.infer_topk, progress, write, log_interval=args.log_interval)
        failed = annotate_videos(files, sources, targets, names)
        paths = files.finish()
        reader.report_failures()
        logger.info("[INFER] infer finished. %d predictions, %s", files.rows, progress)
        logger.info("results: %s", ", ".join(map(str, [*paths, *filter(None, [args.save_video])])))
        if len(reader):
            reader.check_failures()
        if failed:
            raise InputError(
                f"{len(failed)} of {len(targets)} videos could not be annotated:\n  " + "\n  ".join(failed)
            )


class Tee:
    """Writes a batch of predictions to the files, and prints the first ones, or all.

    Args:
        files: are open.
        names: of the classes.
    """

    def __init__(self, files: ResultFiles, names: list[str], print_all: bool):
        self._files = files
        self._names = names
        self._left = None if print_all else _TABLES

    def __call__(self, predictions: list[Prediction], clips: np.ndarray) -> None:
        self._files.add(predictions, clips)
        shown = predictions[: self._left]
        if shown:
            print(format_table(shown, self._names), flush=True)
        if self._left:
            self._left -= len(shown)
            if not self._left:
                logger.info("further predictions are in the files alone")


def load_settings(args: argparse.Namespace, deployment: Deployment | None) -> Config:
    """The config; a deployment folder has its own."""
    if deployment is not None:
        if args.config:
            logger.info("--config is not looked at: %s holds the config of its programs", deployment.folder)
        args.config = str(deployment.folder / CONFIG)
    given = {"batch_size": args.batch_size, "filelist": args.filelist}
    settings = cli.load_config(args, Config, {"INFER": given}, MODELS)
    if deployment is not None:
        exported = config.load(args.config, Config, models=cli.model_sections(MODELS))
        keys = [key for key, value in asdict(exported.MODEL).items() if value != getattr(settings.MODEL, key)]
        changed = [f"MODEL.{key}" for key in keys if key not in ("class_names", "format")]
        if settings.clip_shape("infer") != deployment.shape:
            changed.append("a clip's size")
        if changed:
            raise InputError(
                f"{deployment.folder} was exported with other settings than the flags give, and cannot change:"
                f" {', '.join(changed)}. Leave the --set out, or export again."
            )
        if settings.MODEL.num_classes != len(deployment.names):
            raise InputError(f"{deployment.folder} is damaged: its {CONFIG} and {FILE} have other numbers of classes")
    return settings


def choose_reader(args: argparse.Namespace, settings: Config) -> VideoReader | StreamReader:
    """Reads the list, the videos, their windows, or the stream, as the flags say."""
    inputs = find_inputs(args.input) if args.input else None
    windows = Windows(args.window_s, args.stride_s or args.window_s) if args.window_s else None
    if args.resume and (settings.MODEL.format == "pkl" or inputs and inputs.streams):
        raise InputError("--resume=True is for lists of video files: a stream, or a pickle, cannot be found again")
    if inputs and inputs.streams:
        if len(inputs.streams) + len(inputs.videos) > 1:
            raise InputError(f"one stream a run, and nothing beside it; given: {' '.join(args.input)}")
        if windows is None:
            raise InputError("a stream has no end: --window_s=2 predicts every 2 seconds of it")
        return StreamReader(settings, inputs.streams[0], windows, duration_s=args.duration_s)
    if args.duration_s:
        raise InputError("--duration_s is of a stream, and none is given")
    videos = inputs.videos if inputs else None
    if windows and videos is None:
        videos = listed_videos(settings.INFER.filelist, settings.MODEL.num_classes, "INFER.filelist")
    return open_reader("infer", settings, videos=videos, windows=windows)


def plan_annotation(
    args: argparse.Namespace, settings: Config, reader: VideoReader | StreamReader
) -> tuple[dict[str, Path], dict[str, Path]]:
    """The videos' files, and where the annotated ones go, by id; on resume without those that are there.

    Raises InputError: there are no video files, or one of them would be overwritten.
    """
    if isinstance(reader, StreamReader) or settings.MODEL.format != "mp4":
        raise InputError("--save_video is for video files: a stream, pickles or folders of images cannot be annotated")
    if importlib.util.find_spec("av") is None:
        raise InputError("--save_video needs PyAV: pip install av")
    from video_zoo.engine.annotate import plan

    folder = Path(reader.list_path).resolve().parent if reader.list_path else Path()
    sources = {video.path: resolve(video.path, folder) for video in reader.videos}
    targets = plan(sources, make_folder(args.save_video))
    return sources, {video: target for video, target in targets.items() if not (args.resume and target.exists())}


def annotate_videos(
    files: ResultFiles, sources: dict[str, Path], targets: dict[str, Path], names: list[str]
) -> list[str]:
    """Annotates what is planned; returns what went wrong."""
    if not targets:
        return []
    from video_zoo.engine.annotate import annotate_all  # needs PyAV, which the rest does without

    return annotate_all(files.predictions(), sources, targets, names)


def open_backend(
    args: argparse.Namespace, settings: Config, deployment: Deployment | None
) -> tuple[Backend, dict[str, Any]]:
    """What computes, and what the checkpoint says, if there is one."""
    on_gpu, started = args.use_gpu is True, False
    without_paddle = deployment is not None and args.engine in ("openvino", "onnxruntime")
    if not without_paddle and (args.use_gpu or args.use_gpu is None and has_nvidia_driver()):
        from video_zoo.utils.paddle_env import start_paddle

        on_gpu, started = start_paddle(args.use_gpu), True
    choice = choose_engine(args.engine, args.precision, on_gpu, partial(obstacle, args.precision, deployment))
    job = Job(
        precision=args.precision,
        on_gpu=on_gpu,
        threads=compute_threads(),
        batch_size=settings.INFER.batch_size,
        clip_shape=settings.clip_shape("infer"),
    )
    if not started and (deployment is None or choice.engine.needs_paddle()):
        from video_zoo.utils.paddle_env import start_paddle

        start_paddle(args.use_gpu)
    if deployment is not None:
        program = deployment.program(choice.engine.program, args.precision)
        deployment.check(program)
        backend, info = choice.engine.load(replace(job, program=program)), {}
    else:
        from video_zoo.engine.export import load_network

        network, info = load_trained(settings, "infer", args.weights)
        with tempfile.TemporaryDirectory(prefix="zoo_program_") as folder:
            backend = load_network(choice.engine, network, Path(folder), job)
    logger.info("engine %s (%s): %s", choice.engine.name, choice.reason, backend.description)
    return backend, info


def obstacle(precision: str, deployment: Deployment | None, engine: Engine) -> str | None:
    """Why an engine that is installed cannot be had here; None if it can."""
    if deployment is not None:
        if engine.program is None:
            return f"it computes from a checkpoint, and {deployment.folder} is a deployment folder"
        if deployment.program(engine.program, precision) is None:
            return f"{deployment.folder} has no {precision} program for it; export.py writes one"
        return None
    if precision == "int8":
        return "int8 needs a deployment folder: export.py --int8=True makes one"
    missing = missing_converters(engine.program) if engine.program else []
    return f"its program cannot be made of a checkpoint without pip install {' '.join(missing)}" if missing else None


def open_files(
    args: argparse.Namespace,
    settings: Config,
    folder: Path,
    names: list[str],
    description: str,
    deployment: Deployment | None,
) -> ResultFiles:
    """The result files, and the page. Raises InputError if the page has no place."""
    stem = f"{settings.MODEL.name.upper()}_infer_result"
    if args.html and Path(args.html).is_dir():
        raise InputError(f"--html={args.html} is a folder: give the page's file")
    if args.html and Path(args.html).name.startswith(stem) and Path(args.html).suffix != ".html":
        raise InputError(f"--html={args.html} is the name of a result: end it in .html")
    speed = {"filelist", "batch_size", "num_reader_threads", "buf_size", "decode_timeout_s", "max_bad_videos"}
    made_with = {
        "weights": str(args.weights or "released"),
        "state": deployment.fingerprint() if deployment else fingerprint(args.weights),
        "names": names,
        "precision": args.precision,
        "topk": args.infer_topk,
        "window_s": args.window_s,
        "stride_s": args.stride_s,
        "MODEL": asdict(settings.MODEL),
        "INFER": {key: value for key, value in asdict(settings.INFER).items() if key not in speed},
    }
    title = f"{settings.MODEL.name.upper()}, {len(names)} classes"
    page = Page(Path(args.html), names, title, notes=[description]) if args.html else None
    return ResultFiles(folder, stem, names, settings=made_with, resume=args.resume, page=page)


if __name__ == "__main__":
    cli.run(main)

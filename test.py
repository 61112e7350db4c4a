"""Measures a model's accuracy on a list of videos: `python test.py --model_name=TSM --config=configs/tsm.txt`.

Nothing here imports Paddle before it computes; a deployment folder (export.py) may need none.
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import argparse
import contextlib
import logging
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from video_zoo.configs.schema import Config
from video_zoo.datareader import open_reader
from video_zoo.datareader.protocol_flags import add_protocol_flags, list_protocols, print_views
from video_zoo.datareader.protocols import notes_of, protocol_of
from video_zoo.datareader.reader import VideoReader
from video_zoo.engine.backends import add_engine_flags
from video_zoo.engine.comparison import run_compare, run_mean
from video_zoo.engine.deployment import is_deployment
from video_zoo.engine.evaluate import VideoLogits, cross_entropy, evaluate, steps_of
from video_zoo.engine.evaluation import NATURAL, ORDERS, Evaluation, describe, what_decides_digits
from video_zoo.engine.evaluation_files import PAGE, check_place, write_evaluation
from video_zoo.engine.evaluation_rows import EvaluationRows
from video_zoo.engine.inference import open_backend
from video_zoo.engine.settings import Trained, settings_of
from video_zoo.engine.stored_evaluation import is_finished
from video_zoo.engine.training_checks import say_small_measurement
from video_zoo.metrics import make_metrics
from video_zoo.models import MODELS, clip_cost
from video_zoo.utils import cli, stop
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import make_folder
from video_zoo.utils.log import Progress, logger, set_up_logging
from video_zoo.utils.runtime import Launch

if TYPE_CHECKING:
    import numpy as np

    from video_zoo.datareader.batches import Batch
    from video_zoo.engine.backends.base import Backend
    from video_zoo.engine.ranks import Ranks


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(
        description="Measures accuracy on a list of videos. In brackets: what a flag left out means.",
        epilog="examples:\n"
        "  python test.py --model_name=TSM --config=configs/tsm.txt --weights=checkpoints/TSM_best\n"
        "  python test.py --weights=exported/TSM --engine=openvino --precision=int8\n"
        "  python test.py --compare before/eval after/eval",
    )
    add = parser.add_argument
    cli.add_common_flags(parser, MODELS, Config, "TEST")
    cli.add_weights_flag(parser)
    what = parser.add_mutually_exclusive_group()
    add_protocol_flags(parser, what)
    add_engine_flags(parser, default="paddle for a checkpoint, or else auto")
    add("--filelist", type=cli.input_path, metavar="FILE", help="the list of videos, with labels (config)")
    add("--batch_size", type=cli.positive_int, metavar="N", help="clips a step (config)")
    add("--log_interval", type=cli.count, default=1, metavar="N", help="steps between log lines; 0: none (1)")
    add("--save_dir", type=cli.path, default="./", metavar="DIR", help="for the folder eval: report.html ... (./)")
    add("--order", nargs="+", default=[], choices=ORDERS[1:], help="also with the frames of each clip in this order")
    what.add_argument(
        "--compare",
        nargs=2,
        type=cli.path,
        metavar="EVAL",
        help="two evaluations of one list, video by video, and ends",
    )
    what.add_argument(
        "--mean_over", nargs="+", type=cli.path, metavar="EVAL", help="the mean of evaluations, as of splits, and ends"
    )
    add("--resume", choices=["auto"], metavar="auto", help="goes on where a run was stopped, if one was")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.show_views or args.list_protocols or args.compare or args.mean_over:
        show(args)
        return
    set_up_logging()
    launch = Launch.of_environment()
    if launch.rank:
        logger.setLevel(logging.WARNING)  # the first rank speaks for all
    engine = args.engine or ("auto" if is_deployment(args.weights) else "paddle")
    if launch.size > 1 and engine != "paddle":
        raise InputError(f"--engine={engine} computes in one process: start test.py without the launcher")
    trained = load_settings(args)
    settings, names = trained.settings, trained.names
    protocol = protocol_of(settings)
    for line in (protocol.description, *notes_of(protocol)):
        logger.info("protocol %s: %s", protocol.name, line)
    orders, folder = [NATURAL, *dict.fromkeys(args.order)], make_folder(args.save_dir) / "eval"
    check_place(folder)
    shape = settings.clip_shape("test")
    if len(orders) > 1 and shape[0] == 1:
        raise InputError("--order: a clip of one frame has no other order")
    with contextlib.ExitStack() as stack:
        transform = MODELS.get(settings.MODEL.name).eval_transform
        reader = stack.enter_context(open_reader("test", settings, transform, launch=launch))
        if launch.rank == 0:
            say_small_measurement(len(reader), "test")
        job = (engine, args.precision, args.use_gpu, settings.TEST.batch_size, shape)
        backend, store = open_backend(trained.source("test"), *job)
        ranks = join_others(launch)
        facts = describe(settings, reader, backend, args.precision, store or trained.deployment)
        made_with = {**what_decides_digits(facts), "orders": orders, "processes": launch.size}
        place = folder.with_name("eval.partial")
        finished = args.resume and not place.exists() and is_finished(folder, facts, orders)
        if ranks.broadcast_object(finished) if ranks else finished:
            logger.info("%s is of these weights, videos and settings: nothing is left to do", folder)
            return
        rows = stack.enter_context(EvaluationRows(place, reader, launch.rank, orders, len(names), made_with))
        logger.debug("what is done is in %s: if this is stopped, --resume=auto goes on with it", place)
        stop.say_when_stopped(f"What is done is kept; to go on: {cli.command_again('--resume=auto')}")
        progress = compute_rows(settings, reader, backend, rows, orders, ranks, args)
        if launch.rank == 0:
            facts["seconds"], facts["videos_per_second"] = round(progress.elapsed_s, 3), round(progress.rate, 3)
            facts["made_at"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
            write(folder, rows.evaluation(launch.size, names, facts), reader, progress)
            rows.remove(launch.size)
        stop.say_when_stopped(None)
        if ranks:
            ranks.all_gather(None)  # the launcher ends all when the first one ends


def show(args: argparse.Namespace) -> None:
    """Prints what a flag asks for that computes nothing."""
    logger.setLevel(logging.WARNING)  # what is printed is all of the output
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # of a folder whose name is no text
    if args.show_views:
        print_views(load_settings(args).settings, *args.show_views)
    elif args.list_protocols:  # also those that need another export
        print(list_protocols(lambda name: load_settings(args, name, checked=False).settings, clip_cost))
    elif args.compare:
        run_compare(*args.compare, args.save_dir)
    else:
        run_mean(args.mean_over)


def load_settings(args: argparse.Namespace, protocol: str | None = None, checked: bool = True) -> Trained:
    """The weights and their config with the flags over it; `protocol` is instead of the flag."""
    flags = {"batch_size": args.batch_size, "filelist": args.filelist, "protocol": protocol or args.protocol}
    return settings_of(args, {"TEST": flags}, "test", checked)


def join_others(launch: Launch) -> Ranks | None:
    """The other processes that a launcher has started, if there are any."""
    if launch.size == 1:
        return None
    from video_zoo.engine.ranks import Ranks  # imports Paddle

    return Ranks(launch)


def compute_rows(
    settings: Config,
    reader: VideoReader,
    backend: Backend,
    rows: EvaluationRows,
    orders: list[str],
    ranks: Ranks | None,
    args: argparse.Namespace,
) -> Progress:
    """Computes the logits of all videos, with their frames in each order, into the rows."""
    first = rows.done() if args.resume else 0
    first = min(ranks.all_gather(first)) if ranks else first
    rows.begin(first)
    reader.first_batch = first
    if first:
        logger.info("going on with batch %d of %d", first, reader.batches)
    protocol = protocol_of(settings)
    most = min(settings.TEST.batch_size, len(reader) * protocol.views)  # a short list fills no larger step
    logits_of = VideoLogits(backend.logits, protocol.average, steps_of(most, protocol.views))

    def compute(batch: Batch) -> np.ndarray:
        logits = {order: logits_of(batch, order) for order in orders}
        rows.add(batch, logits)
        return logits[NATURAL]

    metrics, progress = make_metrics(settings.MODEL.num_classes), Progress(len(reader) - first * reader.batch_size)
    if first < reader.batches:
        interval = {"log_interval": args.log_interval, "line": "[EVAL] Batch {}"}
        evaluate(compute, reader, metrics, progress, **interval, ranks=ranks)
    rows.end()
    if ranks:
        damaged = ranks.all_gather(reader.damaged)  # which also waits until all rows are written
        reader.damaged = [video for each in damaged for video in each]
    return progress


def write(folder: Path, evaluation: Evaluation, reader: VideoReader, progress: Progress) -> None:
    """Writes the folder of the evaluation, and says what it is."""
    reader.report_failures()
    reader.check_failures()
    metrics = make_metrics(len(evaluation.names))
    logits, labels = evaluation.logits[NATURAL], evaluation.labels
    scores = metrics.update(metrics.measure(cross_entropy(logits, labels), logits, labels))
    logger.info("[EVAL] eval finished.  %s over %d of %d videos, %s", scores, scores.samples, len(reader), progress)
    from video_zoo.engine.evaluation_curves import curves_to_board  # imports VisualDL

    summary = write_evaluation(folder, evaluation, reader.first_view)
    logger.info("%s; %s", summary.headline, folder / PAGE)
    try:
        curves_to_board(folder.parent, summary, evaluation.names)
    except InputError as error:  # the numbers are there
        logger.warning("no curves for VisualDL: %s", error)


if __name__ == "__main__":
    cli.run(main)

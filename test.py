"""Measures a model's accuracy on a list of videos: `python test.py --model_name=TSM --config=configs/tsm.txt`."""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()
from video_zoo.utils.paddle_env import start_paddle  # isort: split

import argparse
from functools import partial

from video_zoo.configs.schema import Config
from video_zoo.datareader import open_reader
from video_zoo.datareader.protocol_flags import add_protocol_flags, list_protocols, print_views
from video_zoo.datareader.protocols import protocol_of
from video_zoo.engine.evaluate import evaluate
from video_zoo.metrics import make_metrics
from video_zoo.models import MODELS, clip_cost, load_trained
from video_zoo.utils import cli
from video_zoo.utils.log import Progress, logger, set_up_logging


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(
        description="Measures top-1 and top-5 accuracy on a list of videos. In brackets: what a flag left out means.",
        epilog="example:\n  python test.py --model_name=TSM --config=configs/tsm.txt --weights=checkpoints/TSM_best",
    )
    cli.add_common_flags(parser, MODELS)
    cli.add_weights_flag(parser)
    add_protocol_flags(parser)
    parser.add_argument("--batch_size", type=cli.positive_int, metavar="N", help="clips a step (config)")
    parser.add_argument(
        "--log_interval", type=cli.count, default=1, metavar="N", help="steps between log lines; 0: none (1)"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.show_views:
        print_views(load_settings(args, args.protocol), *args.show_views)  # without a log: it is all of the output
        return
    if args.list_protocols:
        print(list_protocols(partial(load_settings, args), clip_cost))
        return
    set_up_logging()
    settings = load_settings(args, args.protocol)
    logger.info("protocol %s: %s", settings.TEST.protocol, protocol_of(settings).description)
    start_paddle(args.use_gpu)
    with open_reader("test", settings, MODELS.get(settings.MODEL.name).eval_transform) as reader:
        network, _ = load_trained(settings, "test", args.weights)
        progress, metrics = Progress(len(reader)), make_metrics(settings.MODEL.num_classes)
        scores = evaluate(network, reader, metrics, progress, log_interval=args.log_interval, line="[EVAL] Batch {}")
        reader.report_failures()
        logger.info("[EVAL] eval finished.  %s over %d of %d videos, %s", scores, scores.samples, len(reader), progress)


def load_settings(args: argparse.Namespace, protocol: str | None) -> Config:
    """The config with the flags over it."""
    flags = {"batch_size": args.batch_size, "protocol": protocol}
    return cli.load_config(args, Config, {"TEST": flags}, MODELS)


if __name__ == "__main__":
    cli.run(main)

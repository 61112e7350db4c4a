"""Trains a model on a list of videos: `python train.py --model_name=TSM --config=configs/tsm.txt`.

Nothing here imports Paddle before `start_paddle` has set its threads and flags; reader processes never do.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses

from configs.schema import Config, Train
from utils import cli
from utils.errors import InputError
from utils.files import make_folder
from utils.log import Progress, logger, set_up_logging
from utils.runtime import start_paddle


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(
        description="Trains a model on a list of videos. In brackets: what a flag that is left out means.",
        epilog="example:\n  python train.py --model_name=TSM --config=configs/tsm.txt --save_dir=checkpoints\n"
        "every key of a config file: configs/schema.py; how to make a list: dataset/README.md",
    )
    cli.add_common_flags(parser)
    parser.add_argument("--batch_size", type=cli.positive_int, metavar="N", help="clips a step (config)")
    parser.add_argument("--learning_rate", type=float, metavar="RATE", help="at the start (config)")
    parser.add_argument(
        "--pretrain",
        type=cli.optional_path,
        metavar="PATH",
        help="weights to start from, all but the last layer: a v1.5 folder, a checkpoint, or a .tar.gz of either;"
        " none: from scratch (ImageNet's, downloaded once)",
    )
    parser.add_argument("--resume", type=cli.optional_path, metavar="PATH", help="a checkpoint to go on from (none)")
    parser.add_argument("--epoch", type=cli.count, metavar="N", help="passes over the list (config)")
    parser.add_argument(
        "--valid_interval", type=cli.count, default=1, metavar="N", help="validate after every N epochs; 0: never (1)"
    )
    parser.add_argument(
        "--save_dir",
        type=cli.path,
        default="checkpoints",
        metavar="DIR",
        help="for checkpoints and curves (checkpoints)",
    )
    parser.add_argument(
        "--log_interval", type=cli.count, default=10, metavar="N", help="steps between log lines; 0: none (10)"
    )
    parser.add_argument("--enable_ce", type=cli.boolean, metavar="BOOL", help="kpis lines at the end (config)")
    for name in ("--no_use_pyreader", "--no_memory_optimize"):
        parser.add_argument(name, action="store_true", help="v1.5's; has no effect")
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> Config:
    """The config file with the flags over it."""
    flags = {
        "TRAIN": {
            "batch_size": args.batch_size,
            "learning_rate": args.learning_rate,
            "epoch": args.epoch or None,  # v1.5: 0 means the file's
            "enable_ce": args.enable_ce,
        },
        "VALID": {"batch_size": args.batch_size},
    }
    return cli.load_config(args, Config, flags)


def main() -> None:
    args = parse_arguments()
    set_up_logging()
    for name in ("no_use_pyreader", "no_memory_optimize"):
        if getattr(args, name):
            logger.info("--%s has no effect: today's Paddle has neither the pyreader nor that optimization", name)
    settings = load_config(args)
    # The config's `use_gpu = True` is a wish; False is an order, and the flag is one either way.
    start_paddle(args.use_gpu if settings.TRAIN.use_gpu is not False else bool(args.use_gpu))
    train(args, settings)


def train(args: argparse.Namespace, settings: Config) -> None:
    """Assembles what the config describes; then each epoch: train, save, validate, save again if it is the best."""
    import paddle

    from datareader import get_reader
    from engine import checkpoint
    from engine.board import Board
    from engine.evaluate import evaluate
    from engine.train import train_one_epoch
    from metrics import get_metrics
    from models import get_model

    section, name, interval = settings.TRAIN, settings.MODEL.name.upper(), args.log_interval
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(get_reader(name, "train", settings))
        valid_reader = stack.enter_context(get_reader(name, "valid", settings)) if args.valid_interval else None
        folder = make_folder(args.save_dir)
        paddle.seed(section.seed)
        network = get_model(name, settings, "train")
        optimizer, schedule = make_optimizer(section, network, len(reader))
        state = load_weights(args, settings, network, optimizer, schedule)
        metrics, valid_metrics = get_metrics(name, "train", settings), get_metrics(name, "valid", settings)
        board = stack.enter_context(contextlib.closing(Board(folder / "visualdl")))
        progress = Progress(len(reader) * (section.epoch - state.epoch))

        def save(suffix: str) -> None:
            info = {"model": name, **dataclasses.asdict(state), "MODEL": dataclasses.asdict(settings.MODEL)}
            checkpoint.save(folder / f"{name}_{suffix}", network.variables(), optimizer, info)

        for epoch in range(state.epoch, section.epoch):
            reader.epoch = epoch
            paddle.seed(section.seed + epoch)  # dropout's draws are the epoch's, also after a resume
            place = {"epoch": epoch, "first_step": state.global_step, "log_interval": interval}
            summary = train_one_epoch(network, reader, optimizer, schedule, metrics, progress, board, **place)
            state.epoch, state.global_step = epoch + 1, state.global_step + summary.steps
            seconds, scores = summary.step_s, summary.scores
            logger.info("[TRAIN] Epoch %d training finished, average time: %.4f  %s", epoch, seconds, scores)
            save(f"epoch{epoch}")
            if valid_reader is not None and (epoch + 1) % args.valid_interval == 0:
                pace, line = Progress(len(valid_reader)), "[TEST] test_iter {}"
                scores = evaluate(network, valid_reader, valid_metrics, pace, log_interval=interval, line=line)
                logger.info("[TEST] Finish  %s over %d videos, %s", scores, scores.samples, pace)
                board.add("valid", state.global_step, scores, **pace.milliseconds())
                if scores.top1 > state.best_top1:
                    state.best_top1 = scores.top1
                    save("best")
                    logger.info("best so far: %s", folder / f"{name}_best")
        for each in filter(None, (reader, valid_reader)):
            each.report_failures()
    if section.enable_ce:
        print(f"kpis\ttrain_cost_card1\t{summary.scores.loss}\nkpis\ttrain_speed_card1\t{summary.step_s}")


def make_optimizer(section: Train, network, videos: int):
    """v1.5's optimizer and learning rate for a list of so many videos."""
    from engine.optimizer import momentum, piecewise_decay

    total = section.total_videos or videos
    if abs(total - videos) > 0.1 * videos:
        logger.warning(
            "TRAIN.total_videos is %d, and the list has %d: the learning rate will not fall at the epochs that"
            " decay_epochs says; with --set TRAIN.total_videos=%d it does",
            total,
            videos,
            videos,
        )
    decay_epochs = section.decay_epochs
    if decay_epochs is None:
        decay_epochs = (section.epoch / 3, section.epoch * 2 / 3)
    if list(decay_epochs) != sorted(decay_epochs):
        raise InputError(f"TRAIN.decay_epochs = {list(decay_epochs)} must ascend")
    steps_per_epoch = int(total / section.batch_size + 1)  # v1.5's count
    schedule = piecewise_decay(section.learning_rate, section.learning_rate_decay, decay_epochs, steps_per_epoch)
    return momentum(network, schedule, section.momentum, section.l2_weight_decay), schedule


def load_weights(args: argparse.Namespace, settings: Config, network, optimizer, schedule):
    """Weights as --resume or --pretrain say; returns how far the training has come."""
    from engine import checkpoint
    from models import pretrained

    state = checkpoint.State()
    if args.resume:
        if args.pretrain:
            logger.info("--pretrain is not looked at: --resume has all weights")
        store = pretrained.load_weights(network, args.resume, config=settings.MODEL)
        momenta = checkpoint.restore_momenta(store, network.variables(), optimizer)
        state = checkpoint.State.of(store)
        schedule.step(state.global_step)
        logger.info(
            "resuming %s: %d momenta, from epoch %d, step %d", args.resume, momenta, state.epoch, state.global_step
        )
        if state.epoch >= settings.TRAIN.epoch:
            raise InputError(f"{args.resume} has had its {settings.TRAIN.epoch} epochs; ask for more with --epoch")
    elif args.pretrain and args.pretrain.lower() == "none":
        logger.info("training from scratch")
    else:
        skip = pretrained.LAST_LAYER
        needed = set(network.variables()) - set(skip)
        path = args.pretrain or pretrained.IMAGENET_RESNET50.fetch(settings.MODEL, "--pretrain", needed)
        pretrained.load_weights(network, path, skip=skip)
    return state


if __name__ == "__main__":
    cli.run(main)

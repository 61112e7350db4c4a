"""Trains a model: `python train.py --model_name=TSM --config=configs/tsm.txt`. On several GPUs:
`python -m paddle.distributed.launch train.py ...`."""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()
from video_zoo.utils.paddle_env import start_paddle  # isort: split

import argparse
import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import paddle

from video_zoo.configs.schema import Config
from video_zoo.datareader import open_reader
from video_zoo.datareader.labels import names_of
from video_zoo.datareader.own_videos import list_own_videos
from video_zoo.engine.batch_norm import freeze_only_weights, prepare_batch_norm
from video_zoo.engine.board import Board
from video_zoo.engine.checkpoint import Checkpoints, Facts, State
from video_zoo.engine.optimizer import make_optimizer
from video_zoo.engine.ranks import Ranks
from video_zoo.engine.resume import find_checkpoint, is_done, leave_later_ones, resume
from video_zoo.engine.save_folder import open_save_folder
from video_zoo.engine.stepper import Stepper, usable_amp
from video_zoo.engine.trainer import Plan, Trainer, memory_errors_explained
from video_zoo.engine.training_checks import say_small_training
from video_zoo.metrics import make_metrics
from video_zoo.models import MODELS, build_network
from video_zoo.models.pretrained import load_weights
from video_zoo.models.spec import describe
from video_zoo.models.start_weights import load_start_weights
from video_zoo.utils import cli, config
from video_zoo.utils.log import logger, set_up_logging
from video_zoo.utils.runtime import Launch


def parse_arguments(flags: Sequence[str] | None = None) -> argparse.Namespace:
    """Of the command line, or of `flags`."""
    parser = cli.Parser(
        description="Trains a model on a list of videos. In brackets: what a flag that is left out means.",
        epilog="examples:\n  python train.py --model_name=TSM --config=configs/tsm.txt --save_dir=checkpoints\n"
        "  python train.py --model_name=TSM --config=configs/tsm_finetune.yaml --data=FOLDER_OF_CLASS_FOLDERS\n"
        "keys of a config file: configs/schema.py and --list_models; how to make a list: docs/data.md",
    )
    cli.add_common_flags(parser, MODELS, Config, "TRAIN", "VALID")

    def add(flag, kind, metavar, text, default=None):
        parser.add_argument(flag, type=kind, metavar=metavar, help=text, default=default)

    add("--batch_size", cli.positive_int, "N", "clips a step, of all GPUs (config)")
    parser.add_argument("--learning_rate", "--lr", type=float, metavar="RATE", help="at the start (config)")
    text = "weights to start from, all but the last layer: a v1.5 folder, a checkpoint, or a .tar.gz of either; or"
    text += " imagenet, kinetics (both downloaded once), none (config: imagenet)"
    add("--pretrain", cli.input_path, "PATH", text)
    add(
        "--resume",
        cli.input_path,
        "PATH",
        "a checkpoint to go on from; auto: the last one of the last training in --save_dir (none)",
    )
    add("--allow_changes", cli.boolean, "BOOL", "with --resume: go on though config or list has changed (False)", False)
    add("--data", cli.input_path, "FOLDER", "your own videos, FOLDER/CLASS/*.mp4, instead of the config's lists")
    add("--epoch", cli.count, "N", "passes over the list (config)")
    add("--valid_interval", cli.count, "N", "validate after every N epochs; 0: never (1)", 1)
    add("--save_dir", cli.path, "DIR", "for checkpoints, curves, train.log, config.yaml (checkpoints)", "checkpoints")
    add("--save_interval_iters", cli.count, "N", "a checkpoint after every N steps of an epoch, too; 0: none (0)", 0)
    add("--log_interval", cli.count, "N", "steps between log lines; 0: none (10)", 10)
    add("--enable_ce", cli.boolean, "BOOL", "kpis lines at the end (config)")
    parser.add_argument("--list_models", action="version", version=describe(MODELS), help="prints the zoo, and ends")
    for name in ("--no_use_pyreader", "--no_memory_optimize"):
        parser.add_argument(name, action="store_true", help="v1.5's; has no effect")
    return parser.parse_args(flags)


def load_config(args: argparse.Namespace) -> Config:
    """The config file with the flags over it."""
    flags = {name: getattr(args, name) for name in ("batch_size", "learning_rate", "enable_ce", "pretrain")}
    flags["epoch"] = args.epoch or None  # v1.5: 0 means the file's
    return cli.load_config(args, Config, {"TRAIN": flags, "VALID": {"batch_size": args.batch_size}}, MODELS)


def main() -> None:
    args = parse_arguments()
    set_up_logging(file_later=True)
    run(args)


def run(args: argparse.Namespace) -> Path | None:
    """Does what the flags say; returns the best checkpoint or, without validation, the last one, if there is any."""
    launch = Launch.of_environment()
    if launch.rank:
        logger.setLevel(logging.WARNING)  # the first rank speaks for all
    for name in filter(vars(args).get, ("no_use_pyreader", "no_memory_optimize")):
        logger.info("--%s has no effect: today's Paddle has neither the pyreader nor that optimization", name)
    settings = load_config(args)
    with open_save_folder(args.save_dir, settings.MODEL.name.upper(), launch) as folder:
        # The config's `use_gpu = True` is a wish; False is an order, and the flag is one either way.
        start_paddle(args.use_gpu if settings.TRAIN.use_gpu is not False else bool(args.use_gpu))
        with memory_errors_explained():
            train(args, settings, folder, launch)
        checkpoints = Checkpoints(folder, settings.MODEL.name.upper())
        return checkpoints.best() if checkpoints.best().is_dir() else checkpoints.furthest()


def train(args: argparse.Namespace, settings: Config, folder: Path, launch: Launch) -> None:
    """Assembles what the config describes, and trains it."""
    ranks, name = Ranks(launch), settings.MODEL.name.upper()
    checkpoints = Checkpoints(folder, name, settings.TRAIN.keep_checkpoints)
    path = ranks.broadcast_object(find_checkpoint(args.resume, checkpoints))
    classes = None
    if args.data:
        own = (args.data, settings, folder / "lists")
        settings, classes = ranks.first_calls(list_own_videos, *own, going_on=path is not None)
    ordered = any(each.split("=")[0].strip() == "TRAIN.freeze_batch_norm" for each in args.set)
    settings = freeze_only_weights(settings, ordered)
    section = settings.TRAIN
    with contextlib.ExitStack() as stack:
        spec, valid_reader = MODELS.get(name), None
        reader = stack.enter_context(open_reader("train", settings, spec.train_transform, launch=launch))
        if args.valid_interval and (settings.VALID.filelist or not args.data):
            valid_reader = stack.enter_context(open_reader("valid", settings, spec.eval_transform, launch=launch))
        names = classes or names_of(settings.MODEL)
        if ranks.first and not path:
            labels = [each and [video.label for video in each.videos] for each in (reader, valid_reader)]
            say_small_training(*labels, settings.MODEL.num_classes, names)
        facts = Facts.of_training(settings, names, reader, valid_reader)
        paddle.seed(section.seed)
        network = prepare_batch_norm(build_network(settings, "train"), section, ranks)
        optimizer, schedule = make_optimizer(section, network, len(reader), reader.batches)
        if path:
            store = load_weights(network, path, config=settings.MODEL)
            if args.pretrain:
                logger.info("--pretrain is not looked at: --resume has all weights")
            changes = args.allow_changes
            state, facts = resume(store, facts, settings, network, optimizer, schedule, reader.batches, changes)
            if not args.data:
                facts = dataclasses.replace(facts, classes=names_of(settings.MODEL, store.info().get("classes")))
            checkpoints.last = path
            if is_done(path, state, section.epoch, args.resume):
                return
        else:
            load_start_weights(network, settings)
            state = State(best_metric=settings.VALID.best_metric)
        amp = usable_amp(section.amp)
        stepper = Stepper(network, optimizer, schedule, ranks, amp=amp, micro_batches=section.accumulate_steps)
        stepper.restore(facts.loss_scale)
        board = None
        if ranks.first:
            names = tuple(facts.classes) if classes or settings.MODEL.class_names else None
            written = dataclasses.replace(settings, MODEL=dataclasses.replace(settings.MODEL, class_names=names))
            config.write(folder / "config.yaml", written, "written by train.py: the config with the flags over it")
            before = facts.training
            if path and args.resume != "auto":
                facts = leave_later_ones(checkpoints, path, state, facts)
            board = Board(folder, facts.training, path and path.parent, state, branch_of=before)
            stack.enter_context(contextlib.closing(board))
        metrics = make_metrics(settings.MODEL.num_classes)
        plan = Plan(section.epoch, args.valid_interval, args.save_interval_iters, args.log_interval, section.seed)
        if not path:
            plan = dataclasses.replace(plan, new_classes=settings.MODEL.num_classes)
        trainer = Trainer(stepper, reader, metrics, ranks, state, checkpoints, facts, plan, valid_reader, board)
        summary = trainer.run()
        for each in filter(None, (reader, valid_reader)):
            each.report_failures()
    if section.enable_ce and ranks.first:
        for key, value in (("cost", summary.scores["loss"]), ("speed", summary.step_s)):
            print(f"kpis\ttrain_{key}_card{ranks.size}\t{value}")


if __name__ == "__main__":
    cli.run(main)

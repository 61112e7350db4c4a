"""Trains a model on a list of videos: `python train.py --model_name=TSM --config=configs/tsm.txt`.

On several GPUs: `python -m paddle.distributed.launch train.py ...`. Nothing here imports Paddle before `start_paddle`
has set its threads and flags; reader processes never do.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from video_zoo.configs.schema import Config, TrainSection
from video_zoo.models import MODELS, build_network
from video_zoo.models.spec import describe
from video_zoo.utils import cli, config
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import lock_folder, make_folder, remove_leftovers
from video_zoo.utils.log import log_to_file, logger, set_up_logging
from video_zoo.utils.runtime import Launch, start_paddle

# What may differ from the checkpoint that a training goes on from, as it changes no step; when that is so of
# `epoch`, check_changes says.
FREE_KEYS = frozenset(
    ("filelist", "num_reader_threads", "buf_size", "decoder", "decode_timeout_s", "max_bad_videos", "valid_share")
    + ("class_names", "epoch", "pretrain", "keep_checkpoints", "use_gpu", "enable_ce")
)


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(
        description="Trains a model on a list of videos. In brackets: what a flag that is left out means.",
        epilog="examples:\n  python train.py --model_name=TSM --config=configs/tsm.txt --save_dir=checkpoints\n"
        "  python train.py --model_name=TSM --config=configs/tsm_finetune.yaml --data=FOLDER_OF_CLASS_FOLDERS\n"
        "every key of a config file: configs/schema.py; how to make a list: dataset/README.md",
    )
    cli.add_common_flags(parser, MODELS)
    parser.add_argument("--list_models", action="store_true", help="prints the models and their released weights")
    parser.add_argument("--batch_size", type=cli.positive_int, metavar="N", help="clips a step, of all GPUs (config)")
    parser.add_argument("--learning_rate", type=float, metavar="RATE", help="at the start (config)")
    parser.add_argument(
        "--pretrain",
        type=cli.optional_path,
        metavar="PATH",
        help="weights to start from, all but the last layer: a v1.5 folder, a checkpoint, or a .tar.gz of either; or"
        " imagenet, kinetics (both downloaded once), none (config: imagenet)",
    )
    parser.add_argument(
        "--resume",
        type=cli.optional_path,
        metavar="PATH",
        help="a checkpoint to go on from; auto: the newest in --save_dir, or from the beginning (none)",
    )
    parser.add_argument(
        "--allow_changes",
        type=cli.boolean,
        default=False,
        metavar="BOOL",
        help="with --resume: go on though the config or the list has changed (False)",
    )
    parser.add_argument(
        "--data",
        type=cli.optional_path,
        metavar="FOLDER",
        help="your own videos, FOLDER/CLASS/*.mp4, instead of the config's lists",
    )
    parser.add_argument("--epoch", type=cli.count, metavar="N", help="passes over the list (config)")
    parser.add_argument(
        "--valid_interval", type=cli.count, default=1, metavar="N", help="validate after every N epochs; 0: never (1)"
    )
    parser.add_argument(
        "--save_dir",
        type=cli.path,
        default="checkpoints",
        metavar="DIR",
        help="for checkpoints, curves, train.log and config.yaml (checkpoints)",
    )
    parser.add_argument(
        "--save_interval_iters",
        type=cli.count,
        default=0,
        metavar="N",
        help="a checkpoint after every N steps of an epoch, too; 0: none (0)",
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
            "pretrain": args.pretrain,
        },
        "VALID": {"batch_size": args.batch_size},
    }
    return cli.load_config(args, Config, flags, MODELS)


def main() -> None:
    args = parse_arguments()
    if args.list_models:
        print(describe(MODELS))
        return
    set_up_logging(file_later=True)
    launch = Launch.of_environment()
    if launch.rank:
        logger.setLevel(logging.WARNING)  # the first rank speaks for all
    for name in ("no_use_pyreader", "no_memory_optimize"):
        if getattr(args, name):
            logger.info("--%s has no effect: today's Paddle has neither the pyreader nor that optimization", name)
    settings = load_config(args)
    with save_folder(args.save_dir, settings.MODEL.name.upper(), launch) as folder:
        # The config's `use_gpu = True` is a wish; False is an order, and the flag is one either way.
        start_paddle(args.use_gpu if settings.TRAIN.use_gpu is not False else bool(args.use_gpu))
        try:
            train(args, settings, folder, launch)
        except MemoryError as error:
            reason = (str(error).strip().splitlines() or ["no more is given"])[-1]
            raise InputError(
                f"memory ran out: {reason}. A smaller --batch_size, TRAIN.accumulate_steps or TRAIN.amp needs less."
            ) from error


@contextlib.contextmanager
def save_folder(path: str, name: str, launch: Launch) -> Iterator[Path]:
    """SAVE_DIR, for this training alone, with what a killed one left swept up; the log goes to train.log, too. Only the
    first rank touches it."""
    if launch.rank:
        yield Path(path)
        return
    folder = make_folder(path)
    with lock_folder(folder, "another training writes to it; give another --save_dir"):
        remove_leftovers(folder, f"{name}_*", "config.yaml", "curves.jsonl")
        remove_leftovers(folder / "lists", "*")
        for checkpoint in folder.glob(f"{name}_*"):
            remove_leftovers(checkpoint, "checkpoint.json")
        with log_to_file(folder / "train.log"):
            yield folder


def train(args: argparse.Namespace, settings: Config, folder: Path, launch: Launch) -> None:
    """Assembles what the config describes, and trains it."""
    from video_zoo.datareader import get_reader
    from video_zoo.datareader.labels import names_of
    from video_zoo.engine.board import Board
    from video_zoo.engine.checkpoint import Checkpoints, State
    from video_zoo.engine.ranks import Ranks
    from video_zoo.engine.step import Stepper
    from video_zoo.engine.training import Training
    from video_zoo.metrics import get_metrics
    from video_zoo.models.start_weights import load_start_weights

    ranks = Ranks(launch)
    if ranks.size > 1:
        logger.info("%d processes train together, each with its part of every batch", ranks.size)
    name = settings.MODEL.name.upper()
    checkpoints = Checkpoints(folder, name, settings.TRAIN.keep_checkpoints)
    path = ranks.gather(find_checkpoint(args.resume, checkpoints))[0]
    classes = None
    if args.data:
        settings, classes = use_own_videos(args.data, settings, folder, ranks, going_on=path is not None)
    section = settings.TRAIN
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(get_reader(name, "train", settings, launch))
        valid_reader = None
        if args.valid_interval and (settings.VALID.filelist or not args.data):
            valid_reader = stack.enter_context(get_reader(name, "valid", settings, launch))
        info = {
            "model": name,
            "training": uuid.uuid4().hex,
            "classes": classes or names_of(settings.MODEL),
            "list": reader.fingerprint(),
            "valid_list": valid_reader and valid_reader.fingerprint(),
            **{key: dataclasses.asdict(getattr(settings, key)) for key in ("MODEL", "TRAIN", "VALID")},
        }
        network = make_network(settings, ranks)
        optimizer, schedule = make_optimizer(section, network, reader)
        if path:
            state, loss_scale = resume(path, args, settings, info, network, optimizer, schedule)
            checkpoints.last = path
            if args.resume == "auto" and state.epoch >= section.epoch:
                logger.info("%s has had its %d epochs: nothing is left to do", path, section.epoch)
                return
        else:
            load_start_weights(network, settings)
            state, loss_scale = State(), {}
        stepper = Stepper(network, optimizer, schedule, ranks, amp=choose_amp(section), parts=section.accumulate_steps)
        stepper.restore(loss_scale)
        board = None
        if ranks.first:
            config.write(folder / "config.yaml", settings, "written by train.py: the config with the flags over it")
            board = Board(folder, info["training"], path and path.parent, state)
            stack.enter_context(contextlib.closing(board))
        summary = Training(
            stepper=stepper,
            reader=reader,
            metrics=get_metrics(name, "train", settings),
            valid_reader=valid_reader,
            valid_metrics=get_metrics(name, "valid", settings),
            ranks=ranks,
            state=state,
            checkpoints=checkpoints,
            board=board,
            info=info,
            seed=section.seed,
            epochs=section.epoch,
            valid_interval=args.valid_interval,
            save_interval=args.save_interval_iters,
            log_interval=args.log_interval,
        ).run()
        for each in filter(None, (reader, valid_reader)):
            each.report_failures()
    if section.enable_ce and ranks.first:
        for key, value in (("cost", summary.scores.loss), ("speed", summary.step_s)):
            print(f"kpis\ttrain_{key}_card{ranks.size}\t{value}")


def use_own_videos(data: str, settings: Config, folder: Path, ranks, *, going_on: bool) -> tuple[Config, list[str]]:
    """The config with lists of FOLDER/CLASS/*.mp4, which are made here; and the classes' names.

    A training that goes on must have the same videos: InputError.
    """
    from video_zoo.datareader.class_folders import split_class_folders

    section = settings.TRAIN
    if settings.MODEL.format != "mp4":
        raise InputError(f"--data takes video files, and MODEL.format is {settings.MODEL.format}")
    found = split_class_folders(data, section.valid_share, section.seed)
    if going_on and ranks.first and not found.are_listed_in(folder / "lists"):
        raise InputError(
            f"{data} is not what {folder / 'lists'} says any more: videos were added, removed or renamed. Without"
            f" --data, --config={folder / 'config.yaml'} goes on with the old lists; another --save_dir begins with the"
            " new ones"
        )
    lists = found.write(folder / "lists") if ranks.first else None
    lists = ranks.gather(lists)[0]
    logger.info("--data=%s: %d classes (%s)", data, len(found.names), ", ".join(found.names))
    split = (len(found.train), len(found.valid), section.valid_share, section.seed, lists.train)
    logger.info(
        "%d videos to train with, %d to validate with (valid_share %g, seed %d), listed in %s and beside", *split
    )
    if found.without_valid:
        logger.warning("with one video each, and so not validated: %s", ", ".join(found.without_valid))
    if found.ignored:
        logger.info("left out: %s", ", ".join(f"{count} {suffix}" for suffix, count in found.ignored.items()))
    valid_list = str(lists.valid) if found.valid else None
    settings = dataclasses.replace(
        settings,
        MODEL=dataclasses.replace(settings.MODEL, num_classes=len(found.names), class_names=None),
        TRAIN=dataclasses.replace(section, filelist=str(lists.train)),
        VALID=dataclasses.replace(settings.VALID, filelist=valid_list),
        TEST=dataclasses.replace(settings.TEST, filelist=valid_list),
    )
    return settings, found.names


def make_network(settings: Config, ranks):
    """The network, with fresh weights."""
    import paddle

    section = settings.TRAIN
    paddle.seed(section.seed)
    network = build_network(settings, "train")
    if section.sync_batch_norm:
        if not paddle.get_device().startswith("gpu"):
            raise InputError("TRAIN.sync_batch_norm needs GPUs: Paddle has none of it for CPUs")
        if ranks.size > 1:
            network = paddle.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if section.freeze_batch_norm:
        network.freeze_batch_norm()
        logger.info("BatchNorm is frozen: neither its statistics nor its parameters change")
    return network


def make_optimizer(section: TrainSection, network, reader):
    """The optimizer and the learning rate of every step."""
    from video_zoo.engine.optimizer import cosine_decay, momentum, piecewise_decay

    rate = section.learning_rate
    if section.base_batch_size:
        rate *= section.batch_size / section.base_batch_size
        scaling = (rate, section.learning_rate, section.batch_size, section.base_batch_size)
        logger.info("learning rate: %g, which is %g times %d clips a step over base_batch_size %d", *scaling)
    warmup_steps = round(section.warmup_epochs * reader.batches)
    if section.lr_schedule == "cosine":
        schedule = cosine_decay(rate, section.epoch * reader.batches, warmup_steps)
    else:
        decay_epochs, steps_per_epoch = piecewise_plan(section, len(reader))
        schedule = piecewise_decay(rate, section.learning_rate_decay, decay_epochs, steps_per_epoch, warmup_steps)
    optimizer = momentum(
        network,
        schedule,
        section.momentum,
        section.l2_weight_decay,
        batch_norm_decay=section.batch_norm_decay,
        clip_norm=section.clip_grad_norm,
    )
    return optimizer, schedule


def piecewise_plan(section: TrainSection, videos: int) -> tuple[Sequence[float], int]:
    """v1.5's: the epochs at whose ends the rate falls, and the steps that it takes an epoch to have."""
    total = section.total_videos or videos
    if abs(total - videos) > 0.1 * videos:
        logger.warning(
            "TRAIN.total_videos is %d, and the list has %d: the learning rate will not fall at the epochs that"
            " decay_epochs says; with --set TRAIN.total_videos=%d it does",
            *(total, videos, videos),
        )
    decay_epochs = section.decay_epochs
    if decay_epochs is None:
        decay_epochs = (section.epoch / 3, section.epoch * 2 / 3)
    if list(decay_epochs) != sorted(decay_epochs):
        raise InputError(f"TRAIN.decay_epochs = {list(decay_epochs)} must ascend")
    return decay_epochs, int(total / section.batch_size + 1)


def choose_amp(section: TrainSection) -> str:
    """TRAIN.amp where it has an effect."""
    import paddle

    if section.amp != "off" and not paddle.get_device().startswith("gpu"):
        logger.warning("TRAIN.amp = %s has no effect: Paddle has mixed precision for GPUs alone", section.amp)
        return "off"
    return section.amp


def find_checkpoint(flag: str | None, checkpoints) -> Path | None:
    """What --resume means; None: begin."""
    from video_zoo.engine.board import CURVES, training_of

    if flag != "auto":
        return flag and Path(flag)
    path = checkpoints.newest(training_of(checkpoints.folder / CURVES))
    logger.info("--resume=auto: %s", path or f"no checkpoint in {checkpoints.folder} yet; from the beginning")
    return path


def resume(path: Path, args: argparse.Namespace, settings: Config, info: dict, network, optimizer, schedule):
    """All that a checkpoint holds; returns how far the training has come, and the loss scale. `info` gets its id."""
    from video_zoo.datareader.labels import names_of
    from video_zoo.engine import checkpoint
    from video_zoo.models import pretrained

    section = settings.TRAIN
    store = pretrained.load_weights(network, path, config=settings.MODEL)
    if args.pretrain:
        logger.info("--pretrain is not looked at: --resume has all weights")
    state, before = checkpoint.State.of(store), store.info()
    check_changes(path, before, info, state, args.allow_changes)
    info["training"] = before.get("training") or info["training"]
    if not args.data:
        info["classes"] = names_of(settings.MODEL, trained=before.get("classes"))
    momenta = checkpoint.restore_momenta(store, network.variables(), optimizer)
    if not before and section.lr_schedule != "piecewise":
        state.global_step = 0  # the counter of a v1.5 folder is that of v1.5's schedule
    schedule.step(state.global_step)
    place = (path, momenta, state.epoch, state.iteration, state.global_step, schedule())
    logger.info("resuming %s: %d momenta, from epoch %d, iter %d, step %d, learning rate %g", *place)
    if state.epoch >= section.epoch and args.resume != "auto":
        raise InputError(f"{path} has had its {section.epoch} epochs; ask for more with --epoch")
    return state, before.get("loss_scale", {})


def check_changes(path: Path, before: dict, now: dict, state, allowed: bool) -> None:
    """Raises InputError, or logs, if the config or the list is not the one that the checkpoint was trained with. What
    was validated otherwise is no best score any more."""
    from video_zoo.engine.checkpoint import changes

    moves = now["TRAIN"]["lr_schedule"] == "cosine" or now["TRAIN"]["decay_epochs"] is None
    free = FREE_KEYS - {"epoch"} if moves else FREE_KEYS
    found = {key: changes(before.get(key) or {}, now[key], free, key) for key in ("MODEL", "TRAIN")}
    found["VALID"] = changes(before.get("VALID") or {}, now["VALID"], free | {"batch_size"}, "VALID")
    for key, section in (("list", "TRAIN"), ("valid_list", "VALID")):
        if before.get(key) and now[key] and before[key] != now[key]:
            found[section].append(f"{section}.filelist has other videos, labels or another order")
    if found["VALID"] and state.best_top1 >= 0:
        logger.warning("the best score so far counts no more: %s", "; ".join(found["VALID"]))
        state.best_top1 = -1.0
    differ = found["MODEL"] + found["TRAIN"]
    if not differ:
        return
    text = f"changed since {path}:\n" + "\n".join(f"  {change}" for change in differ)
    if not allowed:
        raise InputError(
            f"{text}\nGive the old values ({path.parent / 'config.yaml'} has them), or go on with the new ones:"
            " --allow_changes=True, or start anew from the weights: --pretrain"
        )
    order = ("TRAIN.filelist", "TRAIN.batch_size", "TRAIN.seed")
    if state.iteration and any(change.startswith(order) for change in differ):
        raise InputError(f"{text}\nIn the middle of an epoch, its order must stay: resume from an epoch's end")
    logger.warning("%s\n  and allowed", text)


if __name__ == "__main__":
    cli.run(main)

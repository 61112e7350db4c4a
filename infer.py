"""Predicts the classes of a list of videos: `python infer.py --model_name=TSM --filelist=my.list`.

Nothing here imports Paddle before `start_paddle` has set its threads and flags; reader processes never do.
"""

from __future__ import annotations

import argparse

from configs.schema import Config
from datareader.labels import names_of
from utils import cli
from utils.files import make_folder
from utils.log import Progress, logger, set_up_logging
from utils.runtime import start_paddle


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(
        description="Predicts the classes of a list of videos. In brackets: what a flag left out means.",
        epilog="example:\n  python infer.py --model_name=TSM --config=configs/tsm.txt --filelist=my.list\n"
        "my.list names a video a line; a label behind it is not looked at",
    )
    cli.add_common_flags(parser)
    cli.add_weights_flag(parser)
    parser.add_argument("--batch_size", type=cli.positive_int, metavar="N", help="clips a step (config: 1)")
    parser.add_argument("--filelist", type=cli.optional_path, metavar="FILE", help="the list of videos (config)")
    parser.add_argument(
        "--log_interval", type=cli.count, default=1, metavar="N", help="steps between log lines; 0: none (1)"
    )
    parser.add_argument(
        "--infer_topk", type=cli.positive_int, default=20, metavar="K", help="classes kept of each video (20)"
    )
    parser.add_argument(
        "--save_dir", type=cli.path, default="./", metavar="DIR", help="for MODEL_infer_result.pkl and .json (./)"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    set_up_logging()
    flags = {"INFER": {"batch_size": args.batch_size, "filelist": args.filelist}}
    settings = cli.load_config(args, Config, flags)
    names_of(settings.MODEL)  # a wrong file is said before Paddle is started
    folder = make_folder(args.save_dir)
    start_paddle(args.use_gpu)

    from datareader import get_reader
    from engine import results
    from engine.predict import predict
    from models import get_model
    from models.pretrained import load_weights

    name = settings.MODEL.name.upper()
    with get_reader(name, "infer", settings) as reader:
        network = get_model(name, settings, "infer")
        path = args.weights or network.released.fetch(settings.MODEL, "--weights", set(network.variables()))
        info = load_weights(network, path, config=settings.MODEL, complete=True).info()
        names = names_of(settings.MODEL, trained=info.get("classes"))
        progress = Progress(len(reader))
        predictions = list(predict(network, reader, args.infer_topk, progress, log_interval=args.log_interval))
        results.write_pickle(folder / f"{name}_infer_result.pkl", predictions)
        results.write_json(folder / f"{name}_infer_result.json", predictions, names)
        if predictions:
            print(results.format_table(predictions, names))
        reader.report_failures()
        logger.info("[INFER] infer finished. %d of %d videos, %s", len(predictions), len(reader), progress)
        logger.info("results: %s and .json", folder / f"{name}_infer_result.pkl")
        reader.check_failures()


if __name__ == "__main__":
    cli.run(main)

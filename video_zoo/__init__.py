"""Video classification on PaddlePaddle, in three lines: `import video_zoo`, `model = video_zoo.load("TSM_best")` and
`model.predict("holiday.mp4")`. It is one package: video_zoo.models, video_zoo.datareader and so on.

In a clone the sub-packages are the folders beside this one. An installation has them inside of this one.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors know of `load` and the others
    from video_zoo.engine.finetune import finetune
    from video_zoo.engine.predictions import Features, Prediction, Predictions
    from video_zoo.engine.predictor import Predictor, load
    from video_zoo.utils.errors import InputError

_WHERE = {  # what `import video_zoo` offers; it is imported when it is asked for, which takes time
    "load": "engine.predictor",
    "Predictor": "engine.predictor",
    "Prediction": "engine.predictions",
    "Predictions": "engine.predictions",
    "Features": "engine.predictions",
    "finetune": "engine.finetune",
    "InputError": "utils.errors",
}
__all__ = ["Features", "InputError", "Prediction", "Predictions", "Predictor", "finetune", "load"]

# Nothing of this project reports its use to anybody. OpenVINO and NNCF do so through a package of their own, without
# which they go on, and ONNX Runtime asks its environment when it is loaded; this module comes before any of them.
sys.modules["openvino_telemetry"] = None
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# OpenCV reads these when it is loaded. A small file may unpack to an image of gigabytes, and a damaged image is
# reported by this project, once, by name.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

if not os.path.isdir(os.path.join(os.path.dirname(__file__), "models")):
    __path__.append(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> "list[str]":
    return sorted([*globals(), *_WHERE])

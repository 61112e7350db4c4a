"""Video classification on PaddlePaddle, as one package: video_zoo.models, video_zoo.datareader and so on.

In a clone the sub-packages are the folders beside this one. An installation has them inside of this one.
"""

from pathlib import Path

if not (Path(__file__).parent / "models").is_dir():
    __path__.append(str(Path(__file__).resolve().parents[1]))

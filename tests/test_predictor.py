"""The Python API: video_zoo.load, its predictions and features, and video_zoo.finetune."""

from __future__ import annotations

import functools
import http.server
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import paddle
import pytest
from deployed import settled_network
from media import make_video, moving
from tiny import values_of

import video_zoo
from video_zoo.configs.schema import Config, InferSection
from video_zoo.engine import finetune
from video_zoo.engine.backends.paddle_network import FeatureNetwork
from video_zoo.engine.predictions import Predictions, make_prediction
from video_zoo.models import MODELS, build_network
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import VariableStore, write_folder
from video_zoo.utils.runtime import usable_cores

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model(checkpoint) -> video_zoo.Predictor:
    return video_zoo.load(checkpoint, device="cpu", engine="paddle")


@pytest.fixture(scope="module")
def frames(place) -> np.ndarray:
    """Those of videos/a b.mp4, uint8 RGB (50, 48, 64, 3)."""
    with av.open(str(place / "videos/a b.mp4")) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_the_import_is_quick_and_offers_what_it_says():
    code = "import sys, video_zoo; assert not {'paddle', 'numpy', 'cv2'} & set(sys.modules); print(*dir(video_zoo))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"load", "finetune", "Predictions", "InputError"} <= set(done.stdout.split())
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        video_zoo.lode  # noqa: B018


def test_what_a_model_says_of_itself(model):
    assert (model.name, model.names, model.clip_shape) == ("TSM", ["down", "left", "right", "up"], (2, 3, 32, 32))
    assert model.settings.MODEL.num_layers == 18 and model.description.startswith("Paddle ")
    assert repr(model).startswith("TSM, 4 classes, clips (2, 3, 32, 32): Paddle ")


@pytest.mark.contract
def test_a_file_its_frames_and_a_list_are_predicted_alike(model, place, frames):
    path = place / "videos/a b.mp4"
    (of_file,) = model.predict(path, top_k=2)
    assert (of_file.source, of_file.start_s, of_file.end_s) == (str(path), None, None)
    assert len(of_file.classes) == 2 and of_file.classes[0] == (of_file.label, of_file.probability)
    assert of_file.probability == pytest.approx(of_file.probabilities.max()) and of_file.probabilities.shape == (4,)
    assert of_file.frames.shape == (2, 32, 32, 3)
    for clip in (frames, list(frames), iter(frames), frames[None], [frames]):
        (of_array,) = model.predict(clip)
        assert np.array_equal(of_array.probabilities, of_file.probabilities) and of_array.source == "clip 0"
        assert np.array_equal(of_array.frames, of_file.frames)
    many = model.predict(each for each in (path, str(place / "videos/deep"), path))
    assert [Path(each.source).name for each in many] == ["a b.mp4", "录像.mp4", "a b.mp4"]
    assert np.allclose(many[2].probabilities, of_file.probabilities, atol=1e-5)
    assert len(model.predict(frames[:1])) == 1  # one frame stands for all


def test_a_protocol_averages_views(model, place, frames):
    path = place / "videos/a b.mp4"
    (plain,), (same,) = model.predict(path), model.predict(path, protocol="v15")  # whose sizes are the same here
    assert np.allclose(plain.probabilities, same.probabilities, atol=1e-6)
    of_file, of_array = (model.predict(each, protocol="twice3")[0] for each in (path, frames))
    assert np.allclose(of_file.probabilities, of_array.probabilities, atol=1e-6)
    assert of_file.frames.shape == (2, 256, 256, 3) and of_file.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(of_file.probabilities - plain.probabilities).max() > 1e-3


def test_windows_have_their_times(model, place):
    found = model.predict(place / "videos/a b.mp4", window_s=1, stride_s=0.5)
    assert [(each.start_s, each.end_s) for each in found] == [(0, 1), (0.5, 1.5), (1, 2)]
    assert "0.5-1.5 s" in repr(found) and found.to_dicts()[1]["start_s"] == 0.5
    for wrong in ({"window_s": 0}, {"window_s": 1, "stride_s": 0}):
        with pytest.raises(InputError, match="of 0 seconds; it must be longer than 0"):
            model.predict(place / "videos/a b.mp4", **wrong)


def test_a_program_may_change_its_folder(checkpoint, place, tmp_path, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    model = video_zoo.load(checkpoint.name, device="cpu", engine="paddle")
    monkeypatch.chdir(tmp_path)
    assert len(model.features(place / "videos/a b.mp4")) == 1  # which reads the weights


def test_bad_videos_leave_the_others(model, place, tmp_path, log):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    found = model.predict([place / "videos/a b.mp4", broken, "nowhere.mp4"])
    assert [Path(each.source).name for each in found] == ["a b.mp4"]
    assert {Path(each.source).name for each in found.failures} == {"broken.mp4", "nowhere.mp4"}
    warnings = [each.getMessage() for each in log.records if each.levelno == logging.WARNING]
    assert sorted("broken.mp4" in each for each in warnings) == [False, True], warnings  # one each
    assert "could not be read: nowhere.mp4: no such file" in repr(found)
    assert model.features([broken, place / "videos/a b.mp4"]).failures[0].source == str(broken)
    for alone in (["nowhere.mp4"], [broken]):  # a list is a list, whatever it has
        found, options = model.predict(alone), {"window_s": 1}
        assert len(found) == 0 == len(model.features(alone)) == len(model.predict(alone, **options))
        assert [each.source for each in found.failures] == [str(alone[0])]
    for given, message in (
        (broken, "broken.mp4 cannot be read: it is no video"),
        ("nowhere.mp4", "no such file or folder: nowhere.mp4"),
        ([], "no videos are given"),
        (None, "NoneType is no source"),
        (b"a b.mp4", "bytes is no source"),
        (np.zeros((0, 4, 8, 8, 3), np.uint8), "no clips are given"),
        ([None], "NoneType is no path"),
        (np.zeros((4, 8, 8, 3)), "an array of float64 .* is no clip"),
        (np.zeros((0, 8, 8, 3), np.uint8), "is no clip"),
    ):
        with pytest.raises(InputError, match=message):
            model.predict(given)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"top_k": 0}, "top_k=0: at least 1"),
        ({"stride_s": 1}, "stride_s is of window_s"),
        ({"window_s": 1, "protocol": "twice3"}, "leave out window_s or protocol"),
        ({"window_s": 0, "protocol": "twice3"}, "leave out window_s or protocol"),
        ({"protocol": "twice4"}, "choose from v15"),
    ],
)
def test_arguments_that_do_not_go_together(model, frames, options, message):
    with pytest.raises(InputError, match=message):
        model.predict(frames, **options)


@pytest.mark.parametrize(
    "weights, options, message",
    [
        ("nowhere", {}, "nowhere"),
        (None, {"device": "tpu"}, "device='tpu': choose from auto, cpu, gpu"),
        (None, {"engine": "torch"}, "no engine named 'torch'"),
        (None, {"config": {"INFER": {"shrt_size": 1}}}, "did you mean short_size"),
        (None, {"config": {"INFER": 1}}, "the form is {"),
        (None, {"config": {5: {}}}, "the form is {"),
        ("", {}, "weights='': give a checkpoint"),
    ],
)
def test_what_cannot_be_loaded_is_one_message(checkpoint, weights, options, message):
    with pytest.raises(InputError, match=message):
        video_zoo.load(checkpoint if weights is None else weights, **options)


def test_a_name_is_the_released_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("PADDLE_WEIGHTS_HOME", str(tmp_path))
    monkeypatch.setenv("PADDLE_WEIGHTS_MIRROR", tmp_path.as_uri())  # which says at once that it has none
    with pytest.raises(InputError, match="tsn_kinetics"):
        video_zoo.load("tsn", device="cpu", engine="paddle")


def test_a_deployment_folder_predicts_and_has_no_features(exported, model, place):
    deployed = video_zoo.load(exported[0], device="cpu", engine="onnxruntime")
    path = place / "videos/a b.mp4"
    ours, theirs = (each.predict(path)[0].probabilities for each in (model, deployed))
    assert np.allclose(ours, theirs, atol=1e-5)
    with pytest.raises(InputError, match="is a deployment folder, whose programs give probabilities alone"):
        deployed.features(path)


def test_a_deployment_folder_takes_no_config_file(exported, place):
    with pytest.raises(InputError, match="tiny.yaml: .* is a deployment folder, .* give the keys that are to change"):
        video_zoo.load(exported[0], config=place / "tiny.yaml")


@pytest.fixture
def address(place) -> Iterator[str]:
    """The folder of videos on a web server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(place / "videos"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_stream_is_predicted_as_it_comes(model, address):
    with pytest.raises(InputError, match="a stream has no end: .*window_s=2"):
        model.predict(f"{address}/a%20b.mp4")
    found = model.predict(f"{address}/a%20b.mp4", window_s=1)
    assert isinstance(found, Iterator) and [each.start_s for each in found] == [0, 1]


@pytest.mark.contract
def test_an_online_network_follows_a_video_frame_by_frame(model, checkpoint, tmp_path):
    video, folder = tmp_path / "two.mp4", tmp_path / "online"
    make_video(video, moving(2, 48, 64, seed=3))
    folder.mkdir()
    network = settled_network(shift="uni")
    said = VariableStore(checkpoint).info()
    write_folder(folder, values_of(network), {**said, "MODEL": {**said["MODEL"], "shift": "uni"}})
    online = video_zoo.load(folder, device="cpu", engine="paddle")
    found = list(online.follow(video, fps=1000))
    assert [each.start_s for each in found] == [0, pytest.approx(0.04)] and found[0].frames.shape == (1, 32, 32, 3)
    logits = np.mean([np.log(each.probabilities) for each in found], axis=0)  # their mean is the clip's
    of_clip = online.predict(video)[0].probabilities
    assert np.allclose(np.exp(logits) / np.exp(logits).sum(), of_clip, atol=1e-5)
    together = list(zip(online.follow(video, fps=1000), online.follow(video, fps=1000)))  # two streams
    assert len(together) == len(found)
    for expected, pair in zip(found, together):
        assert all(np.allclose(each.probabilities, expected.probabilities, atol=1e-5) for each in pair)
    with pytest.raises(InputError, match="cannot follow a stream frame by frame"):
        model.follow(video)
    with pytest.raises(InputError, match="no such file"):
        online.follow("nowhere.mp4")


def test_predictions_are_a_sequence_a_table_and_a_frame():
    names = ["<b>golf</b>", "tennis\nserve", "=1+1"]
    rows = [make_prediction(f"<i>{n}.mp4", (n, n + 1), np.float32([0.1, 0.7, 0.2]), names, 2, None) for n in range(30)]
    found = Predictions(rows)
    assert len(found[:3]) == 3 and found[-1].source == "<i>29.mp4" and list(found) == rows
    table = repr(found).splitlines()
    assert (
        len(table) == 21
        and table[-1] == "... and 10 more"
        and table[1].split() == ["<i>1.mp4", "1.0-2.0", "s", "70.00%", "tennis\\nserve"]
    )
    assert repr(rows[0]).splitlines()[1:] == ["   70.00%  tennis\\nserve", "   20.00%  =1+1"]
    assert json.loads(json.dumps(found.to_dicts()))[0]["classes"][1] == {
        "name": "=1+1",
        "probability": pytest.approx(0.2),
    }
    frame = found.to_pandas()
    assert list(frame.columns) == ["source", "start_s", "end_s", "label", "probability", "label_2", "probability_2"]
    assert frame["label"][0] == "tennis\nserve" and len(frame) == 30
    for markup in (found._repr_html_(), rows[0]._repr_html_()):
        assert "<i>" not in markup and "&lt;i&gt;0.mp4" in markup and "70.0%" in markup
    assert repr(Predictions([])) == "no predictions"
    with pytest.raises(InputError, match="the frames of <i>0.mp4 were not kept"):
        rows[0].frames  # noqa: B018


@pytest.mark.contract
@pytest.mark.parametrize("name", ["TSN", "S3D", "R2PLUS1D"])
def test_the_last_layer_makes_logits_of_features(name):
    sizes = {"base_width": 8, "num_layers": 18} if name == "TSN" else {"width_multiplier": 0.1, "seglen": 24}
    size = 209 if name == "S3D" else 32
    settings = Config(MODEL=MODELS.get(name).config(num_classes=5, **sizes), INFER=InferSection(target_size=size))
    network = build_network(settings, "infer")
    clips = np.random.default_rng(0).integers(0, 256, (2, *settings.clip_shape("infer")), dtype=np.uint8)
    features = FeatureNetwork(network)
    found = features.features(clips)
    weight, bias = (network.variables()[each].numpy() for each in network.last_layer)
    weight = weight if weight.ndim == 2 else weight.reshape(weight.shape[:2]).T  # (classes, D, 1, 1, 1) -> (D, classes)
    assert found.shape == (2, features.size) and np.allclose(found @ weight + bias, features.logits(clips), atol=1e-4)


def test_every_network_says_which_layer_is_the_last():
    for name, spec in MODELS.items():
        section = spec.config(**({"width_multiplier": 0.1} if spec.clips else {"base_width": 8, "num_layers": 18}))
        size = spec.clips.most_pixels if spec.clips and spec.clips.most_pixels else 224
        network = build_network(Config(MODEL=section, INFER=InferSection(target_size=size)), "infer")
        assert isinstance(network.last(), paddle.nn.Layer) and network.last().weight.shape.count(400) == 1, name


def test_features_of_windows_of_arrays_and_in_a_file(model, infer, place, frames, tmp_path):
    folder = place / "videos"
    found = model.features(folder, window_s=1, normalize=True)
    assert found.array.shape == (6, 64) and found.array.dtype == np.float32 and len(found) == 6
    assert np.allclose(np.linalg.norm(found.array, axis=1), 1) and np.asarray(found) is found.array
    assert list(found.to_pandas().columns[:4]) == ["source", "start_s", "end_s", "f0"]
    infer("--features", "--window_s=1", "--input", str(folder))
    with np.load(tmp_path / "TSM_infer_features.npz") as file:
        written = file["features"] / np.linalg.norm(file["features"], axis=1, keepdims=True)
        assert np.allclose(written, found.array, atol=1e-5) and list(file["sources"]) == found.sources
        assert list(zip(file["start_s"], file["end_s"])) == found.spans
    of_frames, of_file = model.features(frames), model.features(folder / "a b.mp4")
    assert np.array_equal(of_frames.array, of_file.array) and of_frames.sources == ["clip 0"]


PROGRAM = """
import signal, sys, logging
if sys.argv[3] == "before":
    import zlib  # Paddle 2.6 exports an inflate of its own
    import paddle
handlers_of_root = list(logging.getLogger().handlers)
import video_zoo
handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
model = video_zoo.load(sys.argv[1], device="cpu", engine="paddle")
print(len(model.predict([sys.argv[2]] * 2)), model.predict(sys.argv[2])[0].label)
assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
assert sys.excepthook is sys.__excepthook__ and not logging.getLogger("zoo").handlers
assert logging.getLogger().handlers == handlers_of_root
"""


@pytest.mark.parametrize("paddle_comes", ["before", "after"])
def test_a_program_of_ones_own_without_a_guard(checkpoint, place, tmp_path, monkeypatch, paddle_comes):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "mine.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, "mine.py", str(checkpoint), str(place / "videos/a b.mp4"), paddle_comes]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "2" and done.stdout.split()[1] in ("down", "left", "right", "up")
    assert ("Paddle was imported before" in done.stderr) == (paddle_comes == "before" and usable_cores() > 1)
    assert "INFO" not in done.stderr


THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import video_zoo
clips = np.random.default_rng(0).integers(0, 256, (4, 20, 48, 64, 3), dtype=np.uint8)
def both(clip):
    return np.concatenate([model.predict(clip)[0].probabilities, model.features(clip).array[0]])
for engine in ("paddle", "openvino"):
    with ThreadPoolExecutor(4) as pool:
        model = pool.submit(video_zoo.load, sys.argv[1], device="cpu", engine=engine).result()
        expected = [both(clip) for clip in clips]
        found = list(pool.map(both, [*clips] * 10))
    assert np.allclose(found, expected * 10, rtol=1e-4, atol=1e-5), engine
print("the same")
"""


def test_a_model_that_one_thread_loads_predicts_in_others_at_once(checkpoint):
    """In a process of its own, as threads are nothing that other tests should meet."""
    command = [sys.executable, "-c", THREADS, str(checkpoint)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "the same\n", done.stderr


def test_finetune_trains_goes_on_and_returns_the_best(place, checkpoint, tmp_path, capsys, monkeypatch):
    for name, video in (("golf", "a b.mp4"), ("ski", "deep/录像.mp4")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(2):
            shutil.copy(place / "videos" / video, tmp_path / "data" / name / f"{number}.mp4")
    keys = ["MODEL.num_layers=18", "MODEL.base_width=8", "MODEL.seg_num=2"]
    for section in ("TRAIN", "VALID", "INFER"):
        keys += [f"{section}.{key}" for key in ("short_size=32", "target_size=32", "num_reader_threads=0")]
    options = {"weights": checkpoint, "save_dir": tmp_path / "mine", "settings": keys, "device": "cpu"}
    monkeypatch.setattr(finetune, "load", functools.partial(video_zoo.load, engine="paddle"))  # without a conversion
    before = (signal.getsignal(signal.SIGINT), list(logging.getLogger("zoo").handlers))
    trained = video_zoo.finetune(tmp_path / "data", epochs=1, batch_size=2, **options)
    assert before == (signal.getsignal(signal.SIGINT), logging.getLogger("zoo").handlers)
    assert trained.names == ["golf", "ski"] and trained._trained.weights == str(tmp_path / "mine/TSM_best")
    assert "best so far" in capsys.readouterr().out and "best so far" in (tmp_path / "mine/train.log").read_text()
    with pytest.raises(InputError, match="argument --epoch: '-1' is not a whole number of at least 0$"):
        video_zoo.finetune(tmp_path / "data", epochs=-1, **options)
    with pytest.raises(InputError, match="no such folder"):
        video_zoo.finetune(tmp_path / "nothing", verbose=False, **options)
    with ThreadPoolExecutor() as pool, pytest.raises(InputError, match="another thread has trained"):
        pool.submit(video_zoo.finetune, tmp_path / "data", **options).result()
    video_zoo.finetune(tmp_path / "data", epochs=2, batch_size=2, resume=True, allow_changes=True, **options)
    assert (tmp_path / "mine/TSM_epoch1").is_dir()

    class Interrupting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "Epoch 2, iter 0" in record.getMessage():
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(logging.getLogger("zoo"), "handlers", [*before[1], Interrupting()])
    with pytest.raises(KeyboardInterrupt):
        video_zoo.finetune(tmp_path / "data", epochs=3, batch_size=2, resume=True, allow_changes=True, **options)
    assert list((tmp_path / "mine").glob("TSM_epoch2*")) and before[0] == signal.getsignal(signal.SIGINT)

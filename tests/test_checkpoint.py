"""Checkpoints: what is in one, which stay, which is furthest, and that nothing is lost by going on from one."""

from __future__ import annotations

import dataclasses
import json
import os
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import Training, learned, make_batches, make_network, same

from video_zoo.configs.schema import Config, ModelSection, TrainSection, ValidSection
from video_zoo.engine import checkpoint
from video_zoo.engine.checkpoint import Checkpoints, Facts, State
from video_zoo.engine.resume import changes, find_checkpoint, leave_later_ones
from video_zoo.engine.resume import resume as resume_training
from video_zoo.models import pretrained
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN
from video_zoo.utils.errors import InputError
from video_zoo.utils.fluid_vars import VariableStore, write_folder

FACTS = Facts(model="TSM", training="t1", classes=["a", "ü 漢"], sections={"MODEL": {"num_layers": 18}})
STATE = State(1, 0, 2, 0.5)


def v15_names(model: type[TSN]) -> set[str]:
    """Written out from v1.5's rule, for 18 layers: two 3x3 convolutions a block."""
    layers = {"conv1": "bn_conv1"}
    for stage in (2, 3, 4, 5):
        for block in "ab":
            branches = ["branch2a", "branch2b"] + (["branch1"] if stage > 2 and block == "a" else [])
            layers.update({f"res{stage}{block}_{name}": f"bn{stage}{block}_{name}" for name in branches})
    weights = {f"{layer}_weights" for layer in layers} | {"fc_0.w_0", "fc_0.b_0"}
    weights |= {f"{norm}_{part}" for norm in layers.values() for part in ("scale", "offset")}
    statistics = {f"{norm}_{part}" for norm in layers.values() for part in ("mean", "variance")}
    return weights | statistics | {f"{name}_velocity_0" for name in weights}


def save(training: Training, folder: Path, state: State | None = None, facts: Facts = FACTS) -> None:
    checkpoint.save(folder, training.network.variables(), training.optimizer, state or training.state, facts)


@pytest.fixture
def trained() -> Training:
    """Two steps in, at the end of its first epoch."""
    training = Training(make_network(), decay_epochs=(1,))
    training.run(make_batches(2, 2))
    training.state.next_epoch()
    training.state.best = 0.5
    return training


@pytest.mark.contract
@pytest.mark.parametrize("model", [TSM, TSN])
def test_a_checkpoints_files_are_v15s_and_one_more(tmp_path, model):
    training = Training(make_network(model))
    training.run(make_batches(1))
    save(training, tmp_path / "TSM_epoch0")
    names = {path.name for path in (tmp_path / "TSM_epoch0").iterdir()}
    assert names == v15_names(model) | {"@LR_DECAY_COUNTER@", "checkpoint.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["TSM_epoch0"]


@pytest.mark.contract
def test_a_checkpoints_values(tmp_path, trained):
    start = time.time()
    save(trained, tmp_path / "c")
    store = VariableStore(tmp_path / "c")
    for name, array in trained.weights().items():
        assert np.array_equal(store.read(name), array)
    counter = store.read("@LR_DECAY_COUNTER@")
    assert counter.dtype == np.int64 and counter.tolist() == [1]
    info = store.info()
    assert start <= info.pop("saved_s") <= time.time()
    assert info == {**FACTS.to_json(), **STATE.to_json()} and Facts.from_json(info) == FACTS
    assert State.of(store) == trained.state == STATE
    by_tensor = {tensor.name: name for name, tensor in trained.network.variables().items()}
    momenta = {key: value for key, value in trained.optimizer.state_dict().items() if key.endswith("_velocity_0")}
    assert len(momenta) == len(learned(trained.network))
    for key, value in momenta.items():
        assert np.array_equal(store.read(f"{by_tensor[key[: -len('_velocity_0')]]}_velocity_0"), np.asarray(value))
        assert np.asarray(value).any()


def test_before_the_first_step_there_are_no_momenta(tmp_path):
    training = Training(make_network())
    save(training, tmp_path / "c")
    store = VariableStore(tmp_path / "c")
    assert store.read("@LR_DECAY_COUNTER@").tolist() == [-1] and State.of(store) == State()
    assert not [name for name in store.names() if name.endswith("_velocity_0")]
    assert checkpoint.restore_momenta(store, training.network.variables(), training.optimizer) == 0


def resume(training: Training, folder: Path) -> None:
    """As train.py does."""
    store = pretrained.load_weights(training.network, str(folder))
    restored = checkpoint.restore_momenta(store, training.network.variables(), training.optimizer)
    assert restored == len(learned(training.network))
    training.state = State.of(store)
    training.schedule.step(training.state.global_step)


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("model", [TSM, TSN])
def test_going_on_from_a_checkpoint_equals_never_having_stopped(tmp_path, model, at):
    """To the bit: weights, statistics, momenta, the state and the scores. The rate has fallen in between, or will.

    Within the epoch, too, and with dropout: a step's draws are its own.
    """
    batches = make_batches(2, 2, 3)
    straight = Training(make_network(model, seed=1, dropout=0.5), decay_epochs=(1,))
    straight.run(batches[:at])
    save(straight, tmp_path / "c")
    expected = straight.run(batches[at:]).scores

    resumed = Training(make_network(model, seed=2, dropout=0.5), decay_epochs=(1,))
    assert not same(straight.weights(), resumed.weights())
    resume(resumed, tmp_path / "c")
    assert resumed.state.iteration == at
    assert resumed.schedule() == pytest.approx(0.05 if at == 1 else 0.005)
    assert resumed.run(batches[at:]).scores == expected
    assert same(straight.weights(), resumed.weights()) and resumed.state == straight.state
    for training, name in ((straight, "straight"), (resumed, "resumed")):
        save(training, tmp_path / name)
    for name in v15_names(model) | {"@LR_DECAY_COUNTER@"}:
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes(), name


def test_without_its_momenta_it_would_not(tmp_path, trained):
    """The check of the test above: the momenta matter."""
    save(trained, tmp_path / "c")
    resumed = Training(make_network(seed=2), decay_epochs=(1,))
    resumed.state = State.of(pretrained.load_weights(resumed.network, str(tmp_path / "c")))
    resumed.schedule.step(2)
    for training in (trained, resumed):
        training.run(make_batches(2))
    assert not same(trained.weights(), resumed.weights())


def test_a_momentum_of_another_shape_is_named(tmp_path, trained):
    save(trained, tmp_path / "c")
    wrong = tmp_path / "c" / "fc_0.b_0_velocity_0"
    wrong.write_bytes((tmp_path / "c" / "bn_conv1_scale_velocity_0").read_bytes())
    (tmp_path / "c" / "checkpoint.json").unlink()
    with pytest.raises(InputError, match=r"fc_0\.b_0_velocity_0 has shape \[8\], its weight \[4\]"):
        checkpoint.restore_momenta(VariableStore(tmp_path / "c"), trained.network.variables(), trained.optimizer)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [True, False])
def test_a_save_that_fails_leaves_the_old_one(tmp_path, monkeypatch, trained, error, old):
    folder = tmp_path / "TSM_best"
    if old:
        save(trained, folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*")}

    def fail(target, arrays, info):
        (target / "conv1_weights").write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "write_folder", fail)
    with pytest.raises((InputError, KeyboardInterrupt)) as caught:
        save(trained, folder, State(epoch=9))
    if isinstance(error, OSError):
        assert "cannot write" in str(caught.value) and "No space left" in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.glob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == (["TSM_best"] if old else [])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["fc_0.w_0", "bn_conv1_variance", "res2a_branch2a_weights_velocity_0"])
@pytest.mark.parametrize("old", [True, False])
def test_no_checkpoint_is_made_of_what_is_not_finite(tmp_path, trained, what, value, old):
    """A weight, a statistic or a momentum; nothing is written, what was there stays."""
    folder = tmp_path / "new/TSM_best" if not old else tmp_path / "TSM_best"
    if old:
        save(trained, folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*")}
    variables, momenta = trained.network.variables(), trained.optimizer.state_dict()
    weight = what.removesuffix("_velocity_0")
    tensor = variables[what] if what in variables else momenta[f"{variables[weight].name}_velocity_0"]
    array = np.asarray(tensor).copy()
    array.ravel()[-1] = value
    tensor.set_value(array)
    with pytest.raises(checkpoint.NotFinite, match=f"^{what} is not finite after step 2: no checkpoint"):
        save(trained, folder)
    assert issubclass(checkpoint.NotFinite, InputError)
    assert {path.name: path.read_bytes() for path in folder.glob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == (["TSM_best"] if old else [])


def test_a_new_checkpoint_replaces_the_old_one_whole(tmp_path, trained):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "left_over").touch()
    save(trained, tmp_path / "c")
    save(trained, tmp_path / "c", State(epoch=2))
    assert {path.name for path in (tmp_path / "c").iterdir()} == v15_names(TSM) | {
        "@LR_DECAY_COUNTER@",
        "checkpoint.json",
    }
    assert State.of(VariableStore(tmp_path / "c")).epoch == 2


def state_of(folder: Path, text: str | None) -> State:
    if text is not None:
        (folder / "checkpoint.json").write_text(text)
    return State.of(VariableStore(folder))


def test_a_v15_folder_is_a_beginning(tmp_path):
    assert state_of(tmp_path, None) == State() == State(0, 0, 0, None, [])


def test_an_empty_counter_of_v15_is_damaged(tmp_path):
    wrong = [np.array([], np.int64), np.array([1, 2]), np.array([2**63 - 1]), np.array([np.nan]), np.array([1e300])]
    for values in wrong:
        write_folder(tmp_path, {"@LR_DECAY_COUNTER@": values})
        with pytest.raises(InputError, match=r"@LR_DECAY_COUNTER@ is damaged"):
            State.of(VariableStore(tmp_path))


@pytest.mark.contract
@pytest.mark.parametrize("counter, steps", [(-1, 0), (0, 1), (1873, 1874), (-7, 0)])
def test_but_its_learning_rate_goes_on(tmp_path, counter, steps):
    """v1.5's counter is the number of the last step."""
    write_folder(tmp_path, {"@LR_DECAY_COUNTER@": np.array([counter], np.int64)})
    assert State.of(VariableStore(tmp_path)) == State(global_step=steps)


def test_a_checkpoint_of_before_there_were_iterations(tmp_path):
    state = state_of(tmp_path, '{"epoch": 1, "global_step": 2, "best_top1": 0.5}')
    assert state == State(1, 0, 2, 0.5, [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1, 2]",
        "null",
        "3",
        '{"epoch": 1}',
        '{"epoch": 1, "global_step": null, "best_top1": 0.5}',
        '{"epoch": "one", "global_step": 2, "best_top1": 0.5}',
        '{"epoch": 1, "global_step": [2], "best_top1": 0.5}',
        '{"epoch": 1, "global_step": 2, "best_top1": {}}',
        '{"epoch": 1, "global_step": 2, "best_top1": 0.5',
        "\x00\xff",
        '{"epoch": -1, "global_step": 2, "best_top1": 0.5}',
        '{"epoch": 1, "global_step": -2, "best_top1": 0.5}',
        '{"epoch": 1, "global_step": 2, "best_top1": 0.5, "iteration": -1}',
        '{"epoch": 1, "global_step": 2, "best_top1": 0.5, "iteration": "x"}',
        '{"epoch": 1, "global_step": 2, "best_top1": 0.5, "totals": 3}',
        '{"epoch": 1, "global_step": 2, "best_top1": 0.5, "totals": [1, 2, 3, null]}',
        '{"epoch": 1, "global_step": 2, "best_top1": 0.5, "totals": [1, 2, 3, NaN]}',
        '{"epoch": 1, "global_step": 2, "best_top1": NaN}',
        '{"epoch": 1e999, "global_step": 2, "best_top1": 0.5}',
        '{"epoch": 1, "global_step": -1e999, "best_top1": 0.5}',
        '{"epoch": 1, "global_step": 2, "best_top1": 0.5, "iteration": 1e999}',
        '{"epoch": true, "global_step": 2, "best_top1": 0.5}',
        '{"epoch": 1, "global_step": 2.5, "best_top1": 0.5}',
        f'{{"epoch": 1, "global_step": 1{"0" * 400}, "best_top1": 0.5}}',
        f'{{"epoch": 1, "global_step": 2, "best_top1": 1{"0" * 400}}}',
        '{"epoch": 1, "global_step": 2, "best_top1": "0.5"}',
        "[" * 100_000,
        '{"epoch": 1, "global_step": 2, "best_top1": 0.5, "TRAIN": 3}',
        '{"epoch": 1, "global_step": 2, "best_top1": 0.5, "loss_scale": {"scale": {}}}',
        '{"epoch": 1, "global_step": 2, "best_top1": 0.5, "training": []}',
    ],
)
def test_a_damaged_checkpoint_json_is_named(tmp_path, text):
    with pytest.raises(InputError, match=r"checkpoint\.json is damaged"):
        state_of(tmp_path, text)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["epoch", "iteration", "global_step", "best_top1", "totals", "model", "training", "classes", "list", "saved_s"]
FIELDS += ["MODEL", "TRAIN", "loss_scale", "sha256"]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3))
def test_whatever_a_checkpoint_json_says_it_is_a_state_or_an_input_error(tmp_path_factory, said):
    folder = tmp_path_factory.getbasetemp() / "anything"
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint.json").write_text(json.dumps({**State().to_json(), **said}))
    try:
        store = VariableStore(folder)
        state, facts = State.of(store), Facts.from_json(store.info())
    except InputError as error:
        assert "checkpoint.json is damaged" in str(error) and len(str(error)) < 500
    else:
        assert type(state.epoch) is type(state.global_step) is int and isinstance(state.best, (float, type(None)))
        assert all(isinstance(section, dict) for section in (*facts.sections.values(), facts.loss_scale))


finite = st.floats(allow_nan=False, allow_infinity=False)
best = finite.filter(lambda value: value != -1)  # which checkpoint.json has for none


@settings(deadline=None)
@given(st.builds(State, *[st.integers(0, 2**40)] * 3, st.none() | best, st.lists(finite, max_size=6)))
def test_a_state_comes_back_to_the_bit(tmp_path_factory, state):
    """Sums of losses go through JSON's decimals. The metrics say how many sums there are."""
    folder = tmp_path_factory.mktemp("c")
    checkpoint.save_state(folder, state, FACTS)
    assert State.of(VariableStore(folder)) == state


def test_the_best_value_is_that_of_the_metric_that_decides(tmp_path):
    """checkpoint.json has its name. A training that goes on with another one has no best value yet."""
    checkpoint.save_state(tmp_path, State(2, 0, 4, 1.25, best_metric="loss"), FACTS)
    store = VariableStore(tmp_path)
    assert store.info()["best_loss"] == 1.25 and "best_top1" not in store.info()
    assert State.of(store, "loss") == State(2, 0, 4, 1.25, best_metric="loss")
    assert State.of(store).best is None


def test_facts_of_a_v15_folder_or_an_older_version_are_empty():
    assert Facts.from_json({}) == Facts()


def test_the_next_epoch_begins_at_its_beginning():
    state = State(3, 7, 31, 0.5, [1.0, 2.0, 3.0, 4.0])
    state.next_epoch()
    assert state == State(4, 0, 31, 0.5, [])


def test_the_state_alone_is_rewritten(tmp_path, trained):
    """In one step: whoever looks, or is killed, has the old or the new."""
    save(trained, tmp_path / "c")
    before = {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()}
    saved_s = VariableStore(tmp_path / "c").info()["saved_s"]
    checkpoint.save_state(tmp_path / "c", State(2, 0, 2, 0.75), dataclasses.replace(FACTS, loss_scale={"scale": [2.0]}))
    store = VariableStore(tmp_path / "c")
    assert State.of(store) == State(2, 0, 2, 0.75) and store.info()["loss_scale"] == {"scale": [2.0]}
    assert store.info()["saved_s"] >= saved_s
    after = {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()}
    assert after.pop("checkpoint.json") != before.pop("checkpoint.json")
    assert after == before


@pytest.mark.parametrize("name", ["conv1_weights", "bn_conv1_mean", "fc_0.b_0_velocity_0"])
def test_one_changed_bit_is_never_loaded(tmp_path, trained, name):
    """Also after the state was rewritten: the checksums stay."""
    save(trained, tmp_path / "c")
    checkpoint.save_state(tmp_path / "c", State(2, 0, 2, 0.75), FACTS)
    store = VariableStore(tmp_path / "c")
    assert store.checksums().keys() == v15_names(TSM) | {"@LR_DECAY_COUNTER@"}
    data = bytearray((tmp_path / "c" / name).read_bytes())
    data[-1] ^= 1  # of the last number's exponent: it stays finite, or almost all do
    (tmp_path / "c" / name).write_bytes(data)
    fresh = Training(make_network(seed=2))
    before = fresh.weights()
    with pytest.raises(InputError, match=rf"{name} is damaged: checkpoint\.json has another SHA-256 of it"):
        resume(fresh, tmp_path / "c")
    assert same(fresh.weights(), before) or name.endswith("velocity_0")


def test_a_momentum_that_is_gone_is_no_fresh_one(tmp_path, trained):
    save(trained, tmp_path / "c")
    (tmp_path / "c/fc_0.b_0_velocity_0").unlink()
    with pytest.raises(
        InputError, match=r"fc_0\.b_0_velocity_0 is missing, and checkpoint\.json says that it was there"
    ):
        resume(Training(make_network(seed=2)), tmp_path / "c")


def test_a_state_that_cannot_be_written_leaves_the_old_one(tmp_path, trained, monkeypatch):
    save(trained, tmp_path / "c")
    before = (tmp_path / "c/checkpoint.json").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"cannot write .*checkpoint\.json: No space left on device"):
        checkpoint.save_state(tmp_path / "c", State(2), FACTS)
    assert (tmp_path / "c/checkpoint.json").read_bytes() == before
    assert {path.name for path in (tmp_path / "c").iterdir()} == v15_names(TSM) | {
        "@LR_DECAY_COUNTER@",
        "checkpoint.json",
    }


# --- which stay, and which is furthest


def fake(folder: Path, name: str, saved_s: float = 0.0, **info: object) -> Path:
    """A folder with a checkpoint.json and no weights."""
    (folder / name).mkdir()
    (folder / name / "checkpoint.json").write_text(json.dumps({**State().to_json(), "saved_s": saved_s, **info}))
    return folder / name


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_places(tmp_path):
    places = Checkpoints(tmp_path, "TSM")
    assert places.path(3) == tmp_path / "TSM_epoch3"
    assert places.path(3, 200) == tmp_path / "TSM_epoch3_iter200"
    assert places.path(0, 0) == tmp_path / "TSM_epoch0_iter0"
    assert places.best() == tmp_path / "TSM_best"
    assert places.last is None and names(tmp_path) == set()


def save_epochs(folder: Path, epochs: int, keep: int, iterations: tuple[int, ...] = (100, 200)) -> Checkpoints:
    """As engine/trainer.py saves, without a validation."""
    places = Checkpoints(folder, "TSM", keep)

    def put(path: Path) -> None:
        places.last = fake(folder, path.name)
        places.prune()

    for epoch in range(epochs):
        for iteration in iterations:
            put(places.path(epoch, iteration))
        put(places.path(epoch))
        if epoch == 0:
            fake(folder, "TSM_best")
    return places


OTHERS = ("TSN_epoch0", "TSN_epoch0_iter1", "TSM_epoch", "TSM_epochx", "TSM_epoch1_iter", "TSM_epoch1b", "xTSM_epoch0")
OTHERS += ("TSM_epoch0.bak", "TSM_epoch0_iter100_old", "TSM_epoch-1", "visualdl", "lists")


@pytest.mark.parametrize("keep, kept", [(0, range(5)), (1, [4]), (2, [3, 4]), (9, range(5))])
def test_the_last_epochs_stay_and_the_best_and_whatever_is_not_ours(tmp_path, keep, kept):
    for name in OTHERS:
        fake(tmp_path, name)
    save_epochs(tmp_path, 5, keep)
    assert names(tmp_path) == {*OTHERS, "TSM_best", *(f"TSM_epoch{epoch}" for epoch in kept)}


@pytest.mark.parametrize("keep", [0, 1])
def test_within_an_epoch_the_newest_alone_stays(tmp_path, keep):
    """Until the epoch's own is there; those of before the epoch are gone, too."""
    places = save_epochs(tmp_path, 1, keep)
    for iteration in (5, 10, 100):
        places.last = fake(tmp_path, f"TSM_epoch1_iter{iteration}")
        places.prune()
        assert names(tmp_path) == {"TSM_best", "TSM_epoch0", f"TSM_epoch1_iter{iteration}"}
    places.last = fake(tmp_path, "TSM_epoch1")
    places.prune()
    assert names(tmp_path) == {"TSM_best", "TSM_epoch1"} | ({"TSM_epoch0"} if keep == 0 else set())


def test_the_one_to_go_on_from_is_never_removed(tmp_path):
    """An old one, of the same names, where the training of before was further: only those before it are old."""
    for name in ("TSM_epoch0", "TSM_epoch1", "TSM_epoch2_iter7", "TSM_epoch5", "TSM_epoch5_iter3"):
        fake(tmp_path, name)
    places = Checkpoints(tmp_path, "TSM", keep=1)
    places.last = tmp_path / "TSM_epoch0"
    places.prune()
    assert names(tmp_path) == {"TSM_epoch0", "TSM_epoch1", "TSM_epoch2_iter7", "TSM_epoch5", "TSM_epoch5_iter3"}
    places.last = tmp_path / "TSM_epoch2_iter7"
    places.prune()
    assert names(tmp_path) == {"TSM_epoch1", "TSM_epoch2_iter7", "TSM_epoch5", "TSM_epoch5_iter3"}


@pytest.mark.parametrize("last", ["TSM_best", "TSN_epoch9", "weights", "../other/TSM_epoch9"])
def test_a_training_that_went_on_from_elsewhere_removes_nothing(tmp_path, last):
    """Or from what is of no epoch."""
    folder = tmp_path / "own"
    (folder / last).parent.mkdir(parents=True)
    folder.mkdir(exist_ok=True)
    for name in ("TSM_epoch0", "TSM_epoch1", "TSM_epoch2", "TSM_epoch2_iter7", last):
        fake(folder, name)
    before = names(folder)
    places = Checkpoints(folder, "TSM", keep=1)
    places.last = folder / last
    if last.startswith(".."):
        places.last = tmp_path / "other" / "TSM_epoch9"
    places.prune()
    assert names(folder) == before and places.last.exists()


def test_later_epochs_of_an_earlier_training_do_not_count(tmp_path):
    """`keep` is of this one's, and the others stay."""
    for epoch in (0, 1, 2, 7, 8):
        fake(tmp_path, f"TSM_epoch{epoch}")
    places = Checkpoints(tmp_path, "TSM", keep=2)
    places.last = tmp_path / "TSM_epoch2"
    places.prune()
    assert names(tmp_path) == {"TSM_epoch1", "TSM_epoch2", "TSM_epoch7", "TSM_epoch8"}


def test_a_checkpoint_goes_whole(tmp_path, monkeypatch):
    """What is left when a removal is killed in the middle has no checkpoint's name."""
    removed = []

    def killed(path, ignore_errors=False):
        removed.append(path)
        raise KeyboardInterrupt

    fake(tmp_path, "TSM_epoch0"), fake(tmp_path, "TSM_epoch1")
    places = Checkpoints(tmp_path, "TSM", keep=1)
    places.last = tmp_path / "TSM_epoch1"
    monkeypatch.setattr("video_zoo.utils.files.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        places.prune()
    assert places.furthest() == places.last and {path.name for path in tmp_path.glob("[!.]*")} == {"TSM_epoch1"}


def test_without_an_id_the_training_that_was_saved_last_counts(tmp_path):
    """Whatever its epoch, and the file system, say."""
    places = Checkpoints(tmp_path, "TSM")
    assert places.furthest() is None
    for name in OTHERS:
        fake(tmp_path, name, saved_s=99.0)
    (tmp_path / "TSM_epoch77").write_text("a file")
    assert places.furthest() is None
    fake(tmp_path, "TSM_epoch5", saved_s=10.0)
    assert places.furthest() == tmp_path / "TSM_epoch5"
    fake(tmp_path, "TSM_epoch2", saved_s=11.0)  # of a training that began anew
    assert places.furthest() == tmp_path / "TSM_epoch2"
    fake(tmp_path, "TSM_epoch0_iter300", saved_s=12.5)
    os.utime(tmp_path / "TSM_epoch0_iter300", (1, 1))
    assert places.furthest() == tmp_path / "TSM_epoch0_iter300"
    fake(tmp_path, "TSM_best", saved_s=13.0)
    assert places.furthest() == tmp_path / "TSM_best"
    assert Checkpoints(tmp_path, "TSN").furthest() == tmp_path / "TSN_epoch0_iter1"


def test_of_two_of_one_moment_the_one_with_more_steps_is_furthest(tmp_path):
    fake(tmp_path, "TSM_epoch9", saved_s=5.0, global_step=3)
    fake(tmp_path, "TSM_epoch0", saved_s=5.0, global_step=4)
    assert Checkpoints(tmp_path, "TSM").furthest() == tmp_path / "TSM_epoch0"


def test_of_two_of_one_moment_and_step_the_one_that_was_validated_is_furthest(tmp_path):
    """The epoch's own does not know yet how good it is."""
    fake(tmp_path, "TSM_epoch0", saved_s=5.0, global_step=4)
    fake(tmp_path, "TSM_best", saved_s=5.0, global_step=4, epoch=1, best_top1=0.25)
    assert Checkpoints(tmp_path, "TSM").furthest() == tmp_path / "TSM_best"
    fake(tmp_path, "TSM_epoch1", saved_s=5.0, global_step=4, epoch=2, best_top1=0.5)
    assert Checkpoints(tmp_path, "TSM").furthest() == tmp_path / "TSM_epoch1"


def test_the_furthest_of_one_training(tmp_path):
    places = Checkpoints(tmp_path, "TSM")
    fake(tmp_path, "TSM_epoch0", saved_s=1.0, training="t1")
    fake(tmp_path, "TSM_epoch1", saved_s=2.0, training="t1")
    fake(tmp_path, "TSM_best", saved_s=3.0, training="t2")
    fake(tmp_path, "TSM_epoch5", saved_s=4.0)  # of a version before ids
    found = {training: places.furthest(training) for training in ("t1", "t2", "t3", None)}
    expected = {"t1": "TSM_epoch1", "t2": "TSM_best", None: "TSM_epoch5"}
    assert found == {"t3": None, **{training: tmp_path / name for training, name in expected.items()}}


def test_within_a_training_the_steps_count_not_the_clock(tmp_path, log):
    """The clock went back while it ran."""
    places = Checkpoints(tmp_path, "TSM")
    fake(tmp_path, "TSM_epoch0", saved_s=2000.0, training="t1", global_step=6, epoch=1)
    fake(tmp_path, "TSM_epoch1", saved_s=1000.0, training="t1", global_step=12, epoch=1)
    fake(tmp_path, "TSM_best", saved_s=900.0, training="t1", global_step=12, epoch=2)
    assert places.furthest("t1") == places.furthest() == find_checkpoint("auto", places) == tmp_path / "TSM_best"
    assert log.messages == [f"--resume=auto: {tmp_path}/TSM_best, step 12 of training t1"]


def test_of_several_trainings_the_log_says_which_goes_on(tmp_path, log):
    places = Checkpoints(tmp_path, "TSM")
    fake(tmp_path, "TSM_epoch0", saved_s=1.0, training="t2", global_step=6)
    fake(tmp_path, "TSM_epoch1", saved_s=2.0, training="t1", global_step=12)
    fake(tmp_path, "TSM_epoch2", saved_s=3.0, global_step=18)
    assert find_checkpoint("auto", places) == tmp_path / "TSM_epoch2"
    (tmp_path / "curves.jsonl").write_text('{"training": "t2"}\n')
    assert find_checkpoint("auto", places) == tmp_path / "TSM_epoch0"
    (tmp_path / "curves.jsonl").write_text('{"training": "t3"}\n')
    assert find_checkpoint("auto", places) is None
    others = "Other trainings have checkpoints in the folder, too:"
    assert log.messages == [
        f"--resume=auto: {tmp_path}/TSM_epoch2, step 18 of training without an id. {others} 2;"
        " without curves.jsonl, which names the last one, the clock says which it was",
        f"--resume=auto: {tmp_path}/TSM_epoch0, step 6 of training t2. {others} 2",
        f"--resume=auto: no checkpoint in {tmp_path} yet of the last training; from the beginning. {others} 3",
    ]


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_training_that_goes_back_is_another_one(tmp_path, where):
    """The later checkpoints of before stay, and --resume=auto does not take them, though they are further."""
    folder = tmp_path / "own"
    folder.mkdir()
    places, facts = Checkpoints(folder, "TSM"), dataclasses.replace(FACTS, training="t1")
    for epoch in range(3):
        fake(
            folder, f"TSM_epoch{epoch}", saved_s=1.0 + epoch, training="t1", global_step=6 * epoch + 6, epoch=epoch + 1
        )
    start = folder / "TSM_epoch0" if where == "here" else fake(tmp_path, "copy", training="t1", global_step=6)
    branch = leave_later_ones(places, start, State(1, 0, 6), facts)
    assert branch.training not in (None, "t1") and dataclasses.replace(branch, training="t1") == facts
    assert places.furthest("t1") == folder / "TSM_epoch2"
    assert places.furthest(branch.training) == (folder / "TSM_epoch0" if where == "here" else None)
    fake(folder, "TSM_epoch1_iter2", saved_s=0.0, training=branch.training, global_step=8, epoch=1)
    assert places.furthest(branch.training) == folder / "TSM_epoch1_iter2"
    assert leave_later_ones(places, folder / "TSM_epoch2", State(3, 0, 18), facts) == facts


def test_going_back_leaves_what_the_checkpoint_says_and_an_archive_as_it_is(tmp_path):
    """With another learning rate: the checkpoint was trained with the old one. Nothing is written into an archive."""
    places = Checkpoints(tmp_path, "TSM")
    facts = dataclasses.replace(FACTS, training="t1", sections={"TRAIN": {"learning_rate": 0.5}})
    for epoch, step in enumerate((6, 12)):
        info = {"training": "t1", "TRAIN": {"learning_rate": 0.01}, "best_mAP": 0.25, "global_step": step}
        fake(tmp_path, f"TSM_epoch{epoch}", **info)
    path = tmp_path / "TSM_epoch0" / "checkpoint.json"
    before = json.loads(path.read_text())
    branch = leave_later_ones(places, path.parent, State(1, 0, 6), facts)
    after = json.loads(path.read_text())
    added = {name: after[name] for name in ("saved_s", "format", "own_sha256")}
    assert after == {**before, **added, "training": branch.training, "sha256": {}}
    with tarfile.open(tmp_path / "TSM_epoch0.tar.gz", "w:gz") as archive:
        archive.add(path.parent, "TSM_epoch0")
    data = (tmp_path / "TSM_epoch0.tar.gz").read_bytes()
    assert leave_later_ones(places, tmp_path / "TSM_epoch0.tar.gz", State(1, 0, 6), facts).training != "t1"
    assert (tmp_path / "TSM_epoch0.tar.gz").read_bytes() == data and json.loads(path.read_text()) == after


@pytest.mark.parametrize("other", [{}, {"global_step": 5}, {"sha256": {"a": "1" * 64}}])
def test_a_state_is_copied_between_checkpoints_of_the_same_weights_alone(tmp_path, other):
    """Others may have the same name: a training that began anew in the folder writes them."""
    best = fake(tmp_path, "TSM_best", epoch=1, best_top1=0.5, global_step=6, sha256={"a": "0" * 64}, training="t1")
    place = fake(tmp_path, "TSM_epoch0", **{"global_step": 6, "sha256": {"a": "0" * 64}, "training": "t2", **other})
    before = VariableStore(place).info()
    checkpoint.copy_state(best, place)
    assert VariableStore(place).info() == (before if other else VariableStore(best).info())


DAMAGED = ["", "{", "[1]", '{"saved_s": "x"}', '{"saved_s": null}', '{"global_step": {}}', '{"global_step": 1e999}']


@pytest.mark.parametrize("text", [*DAMAGED, '{"best_top1": null}'])
def test_a_damaged_checkpoint_is_left_out_with_a_warning(tmp_path, log, text):
    fake(tmp_path, "TSM_epoch0", saved_s=1.0)
    damaged = fake(tmp_path, "TSM_epoch1")
    (damaged / "checkpoint.json").write_text(text)
    assert Checkpoints(tmp_path, "TSM").furthest() == tmp_path / "TSM_epoch0"
    assert len(log.records) == 1 and log.records[0].levelname == "WARNING"
    assert log.messages[0].startswith(f"{damaged} is left out: ")


@pytest.mark.parametrize("iteration", [4, 2**53])
def test_more_steps_than_an_epoch_has_are_damage(tmp_path, trained, iteration):
    """The epoch would end without a step, and its checkpoint would be as good as any."""
    settings = Config(MODEL=ModelSection(), TRAIN=TrainSection(), VALID=ValidSection())
    sections = {name: dataclasses.asdict(getattr(settings, name)) for name in ("MODEL", "TRAIN", "VALID")}
    now, parts = Facts(sections=sections), (trained.network, trained.optimizer, trained.schedule)
    for steps in (3, iteration):
        save(trained, tmp_path / "c", State(0, steps, 3), Facts())
        store = VariableStore(tmp_path / "c")
        if steps == 3:  # before the validation
            assert resume_training(store, now, settings, *parts, 3, False)[0].iteration == 3
    with pytest.raises(InputError, match=f"c is damaged: it is {iteration:,} steps into an epoch of 3"):
        resume_training(store, now, settings, *parts, 3, False)


# --- what has changed since


def test_changes_name_the_section_the_keys_and_both_values():
    before = {"learning_rate": 0.1, "epoch": 3, "decay_epochs": [1.0, 2.0], "gone": 1, "seed": 0, "total_videos": None}
    now = {"learning_rate": 0.2, "epoch": 9, "decay_epochs": (1.0, 2.0), "new": 2, "seed": 0, "total_videos": 5}
    none = frozenset()
    said = ["TRAIN.learning_rate: 0.1 -> 0.2", "TRAIN.epoch: 3 -> 9", "TRAIN.total_videos: None -> 5"]
    assert changes(before, now, none, "TRAIN") == said
    assert changes(before, now, frozenset({"epoch"}), "TRAIN") == [said[0], said[2]]
    others = frozenset(now) - {"decay_epochs"}
    assert changes(before, {**now, "decay_epochs": (1.0,)}, others, "X") == ["X.decay_epochs: [1.0, 2.0] -> [1.0]"]
    assert changes({}, now, none, "X") == changes(before, {}, none, "X") == changes(before, before, none, "X") == []


@pytest.mark.parametrize("section", [ModelSection(), TrainSection(decay_epochs=(1, 2), filelist="ü.list")])
def test_a_section_that_went_through_json_has_not_changed(section):
    values = dataclasses.asdict(section)
    assert changes(json.loads(json.dumps(values)), values, frozenset(), "X") == []

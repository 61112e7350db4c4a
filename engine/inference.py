"""Opens what computes probabilities: a program of a deployment folder, or a network, in the engine that fits."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Callable

from video_zoo.engine.backends import ENGINES, choose_engine
from video_zoo.engine.backends.base import Backend, Engine, Job
from video_zoo.engine.deployment import Deployment
from video_zoo.engine.programs import PROGRAMS, load_network
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import scratch_folder
from video_zoo.utils.log import logger
from video_zoo.utils.runtime import compute_threads, has_nvidia_driver, usable_cores

if TYPE_CHECKING:
    from video_zoo.engine.backends.paddle_network import FeatureNetwork
    from video_zoo.models.network import VideoNetwork
    from video_zoo.utils.fluid_vars import VariableStore

LoadNetwork = Callable[[], "tuple[VideoNetwork, VariableStore]"]


def open_backend(
    source: Deployment | LoadNetwork,
    engine: str,
    precision: str,
    use_gpu: bool | None,
    batch_size: int,
    clip_shape: tuple[int, ...],
    online: bool = False,
) -> tuple[Backend, VariableStore | None]:
    """What computes, and where its weights are from. Paddle is imported only where it computes.

    Args:
        source: a deployment folder, or what loads a network and gives it with its weights.
        engine: a name, or "auto".
        use_gpu: True insists on a GPU, False on the CPU; None takes a GPU if there is one.
        batch_size: the most clips at once.
        clip_shape: (T, 3, H, W), or with `online` (3, H, W).
        online: follows streams frame by frame (engine/streams.py).

    Raises InputError: the engine cannot compute here, or not with this precision; a program is damaged; there is no
        GPU; whole clips are asked of a folder that follows streams, or the other way round.
    """
    deployment = source if isinstance(source, Deployment) else None
    if deployment is not None:
        deployment.check_online(online, clip_shape)
    on_gpu, started = False, False

    def obstacle_to(each: Engine) -> str | None:
        return deployment.obstacle(each, precision) if deployment else _network_obstacle(each, precision)

    if use_gpu or use_gpu is None and has_nvidia_driver():
        on_gpu, started = _find_gpu(engine, precision, use_gpu, None if deployment is None else obstacle_to)
    choice = choose_engine(engine, precision, on_gpu, obstacle_to)
    if not started and (deployment is None or choice.engine.needs_paddle()):
        _start_paddle(use_gpu)
    job = Job(None, precision, on_gpu, compute_threads(), batch_size, clip_shape)
    if deployment is not None:
        program = deployment.program(choice.engine.program, precision)
        deployment.check(program)
        other = None if on_gpu else deployment.other_processor()
        if other:
            logger.info(other)
        job = replace(job, program=program, state=deployment.state, rest_bf16=deployment.checked_bf16())
        try:
            backend, store = choice.engine.load(job), None
        except InputError as error:
            if use_gpu is not None or started or not on_gpu:
                raise
            logger.warning("%s. Nobody has insisted on the GPU, so it is left out", error)
            return open_backend(source, engine, precision, False, batch_size, clip_shape, online)
    else:
        network, store = source()
        if online:
            job = replace(job, state=network.state_shapes(*clip_shape[1:]))
        with scratch_folder() as folder:
            backend = load_network(choice.engine, network, folder, job)
    backend.engine, backend.device, backend.state = choice.engine.name, "GPU" if on_gpu else "CPU", job.state
    logger.info("engine %s (%s): %s", choice.engine.name, choice.reason, backend.description)
    return backend, store


def open_features(source: Deployment | LoadNetwork, use_gpu: bool | None) -> FeatureNetwork:
    """A network in Paddle's dynamic mode, which gives its features, too; arguments are those of `open_backend`. Raises
    InputError: it is a deployment folder."""
    if isinstance(source, Deployment):
        raise InputError(
            f"{source.folder} is a deployment folder, whose programs give probabilities alone: features need the"
            " checkpoint that it was made of"
        )
    check_paddle(needed=True)
    _start_paddle(use_gpu)
    from video_zoo.engine.backends.paddle_network import FeatureNetwork

    return FeatureNetwork(source()[0], compute_threads())


def _find_gpu(
    engine: str, precision: str, use_gpu: bool | None, obstacle_to: Callable[[Engine], str | None] | None
) -> tuple[bool, bool]:
    """Whether a GPU computes, and whether Paddle was started to find out. An engine that needs no Paddle comes first:
    Paddle may have no kernels for the GPU.

    Args:
        obstacle_to: as of `choose_engine`, for a deployment folder; None: a network is computed, which is Paddle's.

    Raises InputError.
    """
    asked = [ENGINES.get(name) for name in (ENGINES.names() if engine == "auto" else [engine])]
    others = [each for each in asked if obstacle_to and not each.needs_paddle()]
    obstacles = [each.obstacle(precision, True) or obstacle_to(each) for each in others]
    if None in obstacles:
        return True, False
    if others == asked:
        return use_gpu is True or precision in asked[0].gpu and precision not in asked[0].cpu, False
    for each, obstacle in zip(others, obstacles):
        if each.gpu:
            logger.info("without Paddle nothing computes on a GPU here: %s: %s", each.name, obstacle)
    return _start_paddle(use_gpu), True


def _start_paddle(use_gpu: bool | None) -> bool:
    from video_zoo.utils.paddle_env import start_paddle  # imports Paddle, which many a deployment folder does without

    return start_paddle(use_gpu)


def check_paddle(needed: bool) -> None:
    """For the Python API, in each thread that computes: says what a program that has imported Paddle by itself loses,
    and turns dynamic mode on. Raises InputError if Paddle is needed and not installed."""
    if needed and importlib.util.find_spec("paddle") is None:
        raise InputError("this computes in Paddle, which is not installed: `bash scripts/setup_env.sh`, or pip install")
    if needed and "paddle" in sys.modules and "video_zoo.utils.paddle_env" not in sys.modules:
        threads, cores = os.environ.get("OMP_NUM_THREADS", "1"), usable_cores()
        if threads != str(cores):
            logger.warning(
                "Paddle was imported before, for %s of %d threads, which is slower on a CPU: call video_zoo.load before"
                " `import paddle`, or set OMP_NUM_THREADS=%d",
                *(threads, cores, cores),
            )
    if "paddle" in sys.modules and not sys.modules["paddle"].in_dynamic_mode():
        sys.modules["paddle"].disable_static()  # each thread has a mode, and begins with another where one imported it


def _network_obstacle(engine: Engine, precision: str) -> str | None:
    """Why an engine that is installed cannot compute from a checkpoint; None if it can."""
    if engine.program is None:
        return None
    if PROGRAMS[engine.program].made_for(precision):
        return f"{precision} needs a deployment folder: export.py --{precision}=True makes one"
    missing = PROGRAMS[engine.program].missing()
    return f"its program cannot be made of a checkpoint without pip install {' '.join(missing)}" if missing else None

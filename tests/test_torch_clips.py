"""The 3-D networks of PyTorch that benchmarks measure (benchmark/torch_clips.py): equal to the public ones."""

from __future__ import annotations

import numpy as np
import peer_recipe
import pytest

from video_zoo.models import MODELS

torch = pytest.importorskip("torch")

# Name -> our model; a case of golden/: its letter, frames, size and seed.
CASES = {
    "s3d": ("S3D", "a", (16, 224, 1101)),
    "i3d": ("I3D", "c", (17, 200, 1203)),
    "i3d_r50": ("I3DRESNET50", "b", (16, 160, 1302)),
    "p3d63": ("P3D", "a", (16, 160, 1401)),
}


@pytest.mark.parametrize("name", CASES)
def test_names_and_logits(name):
    """Real mistakes move the logits by 0.05 or more."""
    from torch_clips import channels_last, network

    model, case, sizes = CASES[name]
    theirs = network(name, 400).eval()
    weights = {key: tensor for key, tensor in theirs.state_dict().items() if not key.endswith("tracked")}
    for key, tensor in weights.items():
        tensor.copy_(torch.from_numpy(peer_recipe.weight(name, key, tensor.shape)))
    assert weights.keys() == MODELS.get(model).network_class()().variables().keys()
    clip = np.ascontiguousarray(peer_recipe.clip_batch(2, *sizes)[:1].transpose(0, 2, 1, 3, 4))
    with torch.inference_mode():
        found = [net(torch.from_numpy(clip)).numpy()[0] for net in (theirs, channels_last(theirs))]
    expected = peer_recipe.golden(name)[f"{case}_logits"][[0, 0]]
    np.testing.assert_allclose(found, expected, atol=5e-4, rtol=1e-4)

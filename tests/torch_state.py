"""Random weights for the PyTorch networks of benchmark/torch_tsm.py, and the arrays of their state_dicts."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random statistics and parameters of BatchNorm, and convolutions that keep the signal up; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.uniform_(0.5, 1.5, generator=generator)
                for tensor in (module.bias, module.running_mean):
                    tensor.normal_(0, 0.2, generator=generator)
            elif isinstance(module, nn.Conv2d):
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0, 0.3, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
    return network.eval()


def arrays_of(network: nn.Module, wrapper: str = "") -> dict[str, np.ndarray]:
    """Its state_dict, with `wrapper` before the names."""
    return {wrapper + name: tensor.numpy() for name, tensor in network.state_dict().items()}

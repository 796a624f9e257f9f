"""Small fully connected networks in the parameterisation of the theory, and their empirical kernels."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from vintk_kit.errors import bad_value


class TeachingMLP(nn.Module):
    """A ReLU network whose training follows its tangent kernel as the width grows.

    Every layer computes `w_std / sqrt(fan_in) W a + b_std b` with standard normal parameters, so that the same
    learning rate suits all widths. The output at initialisation is subtracted, so training starts from f = 0.

    Args:
        input_dim: Dimension of the inputs.
        width: Units per hidden layer.
        depth: Hidden layers.
        w_std: Weight scale.
        b_std: Bias scale.
        seed: Seed of the parameters.
    """

    def __init__(
        self, input_dim: int = 2, width: int = 512, depth: int = 1, *, w_std: float = 2**0.5,
        b_std: float = 1.0, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if width < 1 or depth < 1:
            raise bad_value("width, depth", (width, depth), "integers of at least 1")
        generator = torch.Generator().manual_seed(seed)
        sizes = [input_dim] + [width] * depth + [1]
        pairs = list(itertools.pairwise(sizes))
        draw = lambda *shape: nn.Parameter(torch.randn(*shape, generator=generator))  # noqa: E731
        self.weights = nn.ParameterList([draw(outputs, inputs) for inputs, outputs in pairs])
        self.biases = nn.ParameterList([draw(outputs) for _, outputs in pairs])
        self.w_std, self.b_std = w_std, b_std

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps (N, input_dim) to (N,)."""
        hidden = inputs
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if index:
                hidden = hidden.relu()
            hidden = self.w_std / math.sqrt(weight.shape[1]) * hidden @ weight.T + self.b_std * bias
        return hidden[:, 0]


def circle_points(n: int) -> Tensor:
    """Returns n equally spaced points of the unit circle, (n, 2) float32."""
    angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return torch.stack([angle.cos(), angle.sin()], 1).float()


def empirical_kernel(network: nn.Module, inputs: Tensor) -> Tensor:
    """Tangent kernel of a network with one output, by the definition: Theta = J J^T over all parameters.

    Meant for teaching sizes: J (n, P) is held. `vintk_kit.ntk.tangent_kernel` is the engine for real networks.

    Args:
        network: Maps (n, d) to (n,).
        inputs: Tensor (n, d).

    Returns:
        Tensor (n, n), float64.
    """
    rows = []
    parameters = list(network.parameters())
    for value in network(inputs):
        gradients = torch.autograd.grad(value, parameters, retain_graph=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    jacobian = torch.stack(rows).double()
    return jacobian @ jacobian.T

"""Empirical tangent kernels of any supported network, at little more than the cost of one training step.

kernel = tangent_kernel(network, images)
kernel.matrix                    # (N, N) float64
kernel.group("attention+mlp")    # the same for some layers
kernel.reliable                  # whether its smallest eigenvalue can be trusted
"""

from __future__ import annotations

from vintk_kit.ntk.engine import tangent_kernel
from vintk_kit.ntk.groups import GROUPS, layer_group, weights_in
from vintk_kit.ntk.kernel import TangentKernel
from vintk_kit.ntk.operator import KernelOperator
from vintk_kit.ntk.owners import PARAMETERS
from vintk_kit.ntk.reference import loop_kernel
from vintk_kit.ntk.response import frequency_response
from vintk_kit.ntk.rules import RULES

__all__ = [
    "GROUPS",
    "PARAMETERS",
    "RULES",
    "KernelOperator",
    "TangentKernel",
    "frequency_response",
    "layer_group",
    "loop_kernel",
    "tangent_kernel",
    "weights_in",
]

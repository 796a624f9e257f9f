"""Export to ONNX, torch.export and TorchScript, each checked against the network."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vintk_kit.errors import NumericalError, missing_extra, one_of


def export_network(
    network: nn.Module, file: str | Path, *, kind: str = "onnx", image_size: int, in_channels: int = 3,
    tolerance: float = 1e-4,
) -> float:  # fmt: skip
    """Writes a network with a free batch size, and compares its outputs on random images of two batch sizes.

    Args:
        network: Any network from (N, c, S, S) to logits.
        file: Target.
        kind: `onnx` (extra `export`), `torch-export` (.pt2) or `torchscript` (deprecated by torch, kept for old
            runtimes).
        image_size: Side S.
        in_channels: Channels c.
        tolerance: Largest allowed difference, relative to the largest logit.

    Returns:
        The largest difference found, relative to the largest logit.

    Raises:
        InputError: For an unknown kind.
        NumericalError: If the exported network computes something else; the file is removed.
    """
    writer = KINDS[one_of("export kind", kind, KINDS)]
    network = copy.deepcopy(network).cpu().eval()
    example = torch.randn(2, in_channels, image_size, image_size, generator=torch.Generator().manual_seed(0))
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    run = writer(network, example, path)
    worst = 0.0
    with torch.no_grad():
        for images in (example, example.flip(-1).repeat(2, 1, 1, 1)[:3]):
            expected = network(images)
            worst = max(worst, float((run(images) - expected).abs().max() / expected.abs().max()))
    if not worst <= tolerance:
        path.unlink()
        raise NumericalError(f"export to {kind}: outputs differ by {worst:.2g} of the largest; allowed: {tolerance:g}")
    return worst


def _onnx(network: nn.Module, example: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise missing_extra(package, "export")
    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        torch.onnx.export(
            network, (example,), str(path), dynamo=True, external_data=False, verbose=False, input_names=["images"],
            output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=65536)},),
        )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(np.array(session.run(None, {"images": images.numpy()})[0]))


def _torch_export(network: nn.Module, example: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    batch = torch.export.Dim("batch", min=1, max=65536)
    program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return torch.export.load(path).module()


def _torchscript(network: nn.Module, example: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates torch.jit but still ships it
        torch.jit.trace(network, example).save(str(path))
        return torch.jit.load(str(path))


KINDS: dict[str, Callable[[nn.Module, Tensor, Path], Callable[[Tensor], Tensor]]] = {
    "onnx": _onnx,
    "torch-export": _torch_export,
    "torchscript": _torchscript,
}
"""Writers by kind; each returns the network as read back from the file."""

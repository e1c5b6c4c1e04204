"""Runs the fused kernels in Triton's interpreter, chosen before Triton is imported; prints errors as JSON.

Started by `test_fused.py` in a process of its own.
"""

import json
import os

os.environ["TRITON_INTERPRET"] = "1"

import torch
from torch import Tensor
from torch.nn import functional as F

from models import fused
from models.dynamicvis import DynamicVis, DynamicVisConfig

TINY = {"widths": (24, 48, 96, 192), "depths": (1, 1, 2, 1), "image_size": 64, "scan": "reference"}
MODELS = {
    "base": {},
    "no global tokens": {"global_tokens": "none"},
    "global tokens head and tail": {"global_tokens": "head_tail"},
    "global tokens amid, the plain path": {"global_tokens": "mid"},
    "five global tokens": {"global_count": 5},
    "dropped tokens pass": {"weigh_dropped": False},
    "two paths, gate": {"merge": "gate"},
    "dense, the plain path": {"keep": (0, 0, 0, 0)},
    "serial": {"selection": "serial", "channel_sides": (8, 8, 4, 4)},
    "parallel, the plain path": {"selection": "parallel", "channel_sides": (8, 8, 4, 4)},
}


def error(result: Tensor, exact: Tensor) -> float:
    return float((result.double() - exact).norm() / exact.norm())


def kernels(width: int, k: int, dtype: torch.dtype) -> dict[str, float]:
    """Relative errors against torch in float64, from the same (rounded) inputs."""
    torch.manual_seed(width + k)
    x, pooled, weight = torch.randn(2, 50, width), torch.randn(2, 7, width), torch.rand(width) + 0.5
    both = torch.randn(2, k + 7, width)
    x, pooled, weight, both = (t.to(dtype) for t in (x, pooled, weight, both))
    pi = torch.rand(2, 50).to(dtype)
    update = both[:, 7:]  # strided, as the model hands it over
    kept = torch.rand(2, 50).argsort(dim=1)[:, :k]
    index = kept.unsqueeze(-1).expand(-1, -1, width)
    found = {}
    ends = {"none": ([], []), "head": ([pooled], []), "head and tail": ([pooled], [pooled])}
    for name, (head, tail) in ends.items():
        sequence = torch.cat([*head, x.gather(1, index), *tail], dim=1).double()
        exact = F.rms_norm(sequence, (width,), weight.double(), 1e-5)
        result = fused.gather_norm(x, kept, pooled if head else None, bool(tail), weight, 1e-5)
        assert result.dtype == dtype
        found[f"gather, {name}"] = error(result, exact)
    shares = pi.double().gather(1, kept).unsqueeze(-1)
    for with_token in (False, True):
        more = update.double() + (x.double().gather(1, index) if with_token else 0)
        exact = x.double().scatter_add(1, index, shares * more)
        result = x.clone()
        fused.add_kept(result, kept, pi, update, with_token)
        found[f"add, {'with' if with_token else 'without'} the token"] = error(result, exact)
    return found


@torch.no_grad()
def model(switches: dict[str, object]) -> float:
    """Relative error of the fused path in float32 against the plain path in float64."""
    torch.manual_seed(0)
    network = DynamicVis(DynamicVisConfig(**{**TINY, **switches})).eval()  # type: ignore[arg-type]
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    image = torch.randn(2, 3, 64, 96)
    exact = network.double()(image.double())
    calls = []
    right = fused.usable
    fused.usable = lambda tokens: calls.append(right(tokens)) or calls[-1]  # type: ignore[assignment]
    result = network.float()(image)
    plain_only = {("global_tokens", "mid"), ("keep", (0, 0, 0, 0)), ("selection", "parallel")} & set(switches.items())
    fused.usable = right
    assert any(calls) != bool(plain_only)
    return max(error(r, e) for r, e in zip(result, exact, strict=True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {
        f"{dtype}, width {width}, {k} kept: {case}".removeprefix("torch."): value
        for dtype in (torch.float32, torch.bfloat16, torch.float16)
        for width, k in ((24, 1), (24, 50), (96, 13), (200, 9))
        for case, value in kernels(width, k, dtype).items()
    }
    found |= {f"model: {name}": model(switches) for name, switches in MODELS.items()}
    found["its own trial"] = fused._try(torch.device("cpu"))
    print(json.dumps(found))  # noqa: T201 (what it is for)

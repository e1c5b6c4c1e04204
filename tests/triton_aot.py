"""Compile the Triton kernels ahead of time, without a GPU, and count what their machine code does.

    python -m tests.triton_aot                  # a table: every kernel for sm_80, sm_90, sm_100, and the other design
    python -m tests.triton_aot --json --dtypes fp32

`associative` below is the forward scan in the other way that Triton offers: time lies across the threads of a block,
and `tl.associative_scan` combines them. It is here to be compared with, and not part of the product.
"""
# ruff: noqa: T201

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from models.scan import _triton_conv, _triton_gradients, _triton_kernels
from models.scan._triton_kernels import LOG2_E, sigmoid, softplus
from models.scan.triton import BACKWARD_BLOCK, BACKWARD_STEPS

STATES = 16
ARCHITECTURES = (80, 90, 100)
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
SEQUENCES = {"u", "delta", "B", "C", "z", "grad", "out", "to_u", "to_delta", "to_z", "x"}
SINGLES = {"A", "skip", "bias", "ends", "decays", "begins", "adjoints", "states_of", "weight", "before", "sums"}
SINGLES |= {"to_B", "to_C", "to_skip"}
UNIT_STRIDES = {"u_d", "delta_d", "A_n", "B_n", "C_n", "skip_d", "z_d", "bias_d", "grad_d", "x_d", "weight_t"}


@triton.jit
def compose(decay, end, decay_later, end_later):
    return decay * decay_later, end * decay_later + end_later


@triton.jit
def associative(
    u, delta, A, B, C, skip, z, bias, out, length, channels,
    u_b, u_l, delta_b, delta_l, A_d, B_b, B_l, C_b, C_l, z_b, z_l, out_b, out_l,
    states: tl.constexpr, N: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """One channel a program, STEPS steps at once; the state is carried from one block of steps to the next."""
    d, item = tl.program_id(0) % channels, tl.program_id(0) // channels
    n, i = tl.arange(0, N), tl.arange(0, STEPS)
    rate = tl.load(A + d * A_d + n, n < states, 0.0) * LOG2_E
    shift, straight = tl.load(bias + d), tl.load(skip + d)
    state = tl.zeros((N,), tl.float32)
    for begin in range(0, length, STEPS):
        t = begin + i
        there = t < length
        both = (n < states)[:, None] & there[None, :]
        x = tl.load(u + item * u_b + t * u_l + d, there, 0.0).to(tl.float32)
        dt = softplus(tl.load(delta + item * delta_b + t * delta_l + d, there, 0.0).to(tl.float32) + shift)
        dt = tl.where(there, dt, 0.0)
        b = tl.load(B + item * B_b + t[None, :] * B_l + n[:, None], both, 0.0).to(tl.float32)
        c = tl.load(C + item * C_b + t[None, :] * C_l + n[:, None], both, 0.0).to(tl.float32)
        gate = tl.load(z + item * z_b + t * z_l + d, there, 0.0).to(tl.float32)
        decay, h = tl.associative_scan((tl.exp2(dt[None, :] * rate[:, None]), (dt * x)[None, :] * b), 1, compose)
        h += decay * state[:, None]
        state = tl.sum(tl.where((i == STEPS - 1)[None, :], h, 0.0), 1)
        y = (tl.sum(h * c, 0) + straight * x) * gate * sigmoid(gate)
        tl.store(out + item * out_b + t * out_l + d, y.to(out.dtype.element_ty), there)


@dataclass(frozen=True)
class Kernel:
    """What is compiled, and how many updates of a state one pass through its loop over time makes."""

    name: str
    function: Any
    sizes: dict[str, Any]
    warps: int
    updates: int = 0  # 0: it does not update states
    absent: tuple[str, ...] = ()


SCAN = {"REVERSE": False, "states": STATES, "N": STATES}
ADJOINT = ("C", "z", "grad", "adjoints", "C_b", "C_l", "C_n", "z_b", "z_l", "z_d", "grad_b", "grad_l", "grad_d")
CONV = {"REVERSE": False, "TAPS": 4, "STEPS": 32, "BLOCK": 64}
KERNELS = [
    Kernel("summaries", _triton_kernels.summaries.fn, SCAN | {"BLOCK": 32}, 1, 32 * STATES, ADJOINT),
    Kernel("outputs", _triton_kernels.outputs.fn, SCAN | {"BLOCK": 32}, 1, 32 * STATES),
    Kernel("outputs, 4 warps", _triton_kernels.outputs.fn, SCAN | {"BLOCK": 128}, 4, 128 * STATES),
    Kernel(
        "carry",
        _triton_kernels.carry,
        {"BACKWARD": False, "states": STATES, "N": STATES, "GROUP": 16, "BLOCK": 128},
        4,
    ),
    Kernel("summaries with adjoint", _triton_kernels.summaries.fn, SCAN | {"BLOCK": 32}, 1, 32 * STATES),
    Kernel(
        "gradients",
        _triton_gradients.gradients,
        SCAN | {"STEPS": BACKWARD_STEPS, "BLOCK": BACKWARD_BLOCK, "SPLIT": 32 // BACKWARD_BLOCK},
        1,
        BACKWARD_STEPS * BACKWARD_BLOCK * STATES,
    ),
    Kernel("convolve", _triton_conv.convolve.fn, CONV | {"SILU": True}, 4),
    Kernel("convolve backward", _triton_conv.convolve_backward.fn, CONV, 4),
]
OTHER_DESIGN = [
    Kernel(f"associative, {steps} steps, {warps} warps", associative, {"states": STATES, "N": STATES, "STEPS": steps},
           warps, steps * STATES)
    for steps, warps in ((128, 4), (256, 4), (512, 4), (128, 1))
]  # fmt: skip


@dataclass(frozen=True)
class Report:
    """Resources of one compiled kernel; instructions are those of its loop over time, per step and state."""

    kernel: str
    dtype: str
    architecture: str
    registers: int
    stack: int
    shared: int
    spills: int
    shuffles: float
    exponentials: float
    multiplications: float
    instructions: float


def compile_kernel(kernel: Kernel, dtype: str, architecture: int) -> Any:
    """Compile one kernel as Triton would for contiguous tensors whose sizes are multiples of 16."""
    names = kernel.function.arg_names
    constants = dict.fromkeys(UNIT_STRIDES & set(names), 1) | dict.fromkeys(kernel.absent) | kernel.sizes
    signature = {}
    for name in names:
        kind = "i32" if name not in SEQUENCES | SINGLES else f"*{dtype if name in SEQUENCES else 'fp32'}"
        signature[name] = "constexpr" if name in constants else kind
    lengths = _triton_kernels.LENGTHS
    aligned = [i for i, name in enumerate(names) if signature[name] != "constexpr" and name not in lengths]
    source = ASTSource(kernel.function, signature, constants, {(i,): [["tt.divisibility", 16]] for i in aligned})
    options = {"num_warps": kernel.warps, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def examine(kernel: Kernel, dtype: str, architecture: int) -> Report:
    """Compile one kernel and read its machine code."""
    compiled = compile_kernel(kernel, dtype, architecture)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _output("cuobjdump", "-res-usage", file.name)
        code = _output("nvdisasm", "-c", file.name)
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    everything = Counter(_instructions(code))
    loop = Counter(_loop_over_time(code))
    share = 32 * kernel.warps / kernel.updates if kernel.updates else 0.0

    def count(among: Counter[str], *names: str) -> int:
        return sum(number for name, number in among.items() if name.startswith(names))

    return Report(
        kernel.name, dtype, f"sm_{architecture}", int(found[1]), int(found[2]), compiled.metadata.shared,
        count(everything, "STL", "LDL"), share * count(loop, "SHFL"), share * count(loop, "MUFU.EX2"),
        share * count(loop, "FFMA", "FMUL"), share * sum(loop.values()),
    )  # fmt: skip


def _output(tool: str, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 (Triton's own tools)
        [TOOLS / tool, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout + done.stderr


def _instructions(code: str) -> list[str]:
    return re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", code)


def _loop_over_time(code: str) -> list[str]:
    """The loop with the most exponentials, from its label to the jump back; inner loops count as part of it."""
    lines = code.splitlines()
    labels = {found[1]: i for i, line in enumerate(lines) if (found := re.match(r"\s*(\.L_x_\d+):", line))}
    loops: list[list[str]] = [[]]
    for end, line in enumerate(lines):
        jump = re.search(r"BRA.*?\(?(\.L_x_\d+)\)?", line)
        if jump and labels.get(jump[1], end) < end:
            loops.append(_instructions("\n".join(lines[labels[jump[1]] : end + 1])))
    return max(loops, key=lambda loop: (loop.count("MUFU.EX2"), len(loop)))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--architectures", nargs="+", type=int, default=ARCHITECTURES, metavar="N", help="90: sm_90")
    parser.add_argument("--product", action="store_true", help="leave the other design out")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    options = parser.parse_args(arguments)
    kernels = KERNELS + ([] if options.product else OTHER_DESIGN)
    cases = [(k, d, a) for k in kernels for d in options.dtypes for a in options.architectures]
    if options.json:
        print(json.dumps([asdict(examine(*case)) for case in cases]))
        return
    print(f"{'kernel':32}{'dtype':6}{'target':8}{'regs':>5}{'smem':>7}{'stack':>6}{'spills':>7}", end="")
    print(f"{'SHFL':>7}{'EX2':>7}{'FMUL+FFMA':>11}{'all':>7}   per step and state")
    for case in cases:
        r = examine(*case)
        print(f"{r.kernel:32}{r.dtype:6}{r.architecture:8}{r.registers:5}{r.shared:7}{r.stack:6}{r.spills:7}", end="")
        per = (r.shuffles, r.exponentials, r.multiplications, r.instructions)
        print("{:7.2f}{:7.2f}{:11.2f}{:7.1f}".format(*per) if case[0].updates else "", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

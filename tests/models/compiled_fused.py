"""Compiles the fused kernels ahead of time, without a GPU; prints registers and spills as JSON. See `test_fused.py`."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

os.environ.pop("TRITON_INTERPRET", None)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from models import _fused_kernels, fused

POINTERS = {"tokens", "kept", "pooled", "weight", "out", "importance", "update"}
CAPABILITIES = (80, 90, 100)


def registers(cubin: bytes) -> dict[str, int]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        tool = triton.knobs.nvidia.cuobjdump.path
        command = [tool, "-res-usage", file.name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 (comes with Triton)
    (used,) = re.findall(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", told)
    return {"registers": int(used[0]), "spills": int(used[1]) + int(used[3]), "shared": int(used[2])}


found = {}
for name, constants in (("gather_norm", {}), ("add_kept", {"WITH_TOKEN": False})):
    kernel = getattr(_fused_kernels, name)
    for width in (96, 768):
        rows, lanes = fused._tile(width)
        fixed = {**constants, "ROWS": rows, "WIDTH": lanes}
        types = {
            arg: "constexpr"
            if arg in fixed
            else ("*i64" if arg == "kept" else "*fp32")
            if arg in POINTERS
            else ("fp32" if arg == "eps" else "i32")
            for arg in kernel.arg_names
        }
        for capability in CAPABILITIES:
            source = ASTSource(kernel, types, constexprs=fixed)
            binary = triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
            found[f"{name}, width {width}, sm_{capability}"] = registers(binary)
print(json.dumps(found))  # noqa: T201 (what it is for)

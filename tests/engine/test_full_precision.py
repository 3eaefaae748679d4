"""Full precision inside, whichever of torch's two ways allowed less, and outside every switch as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# torch's two ways refuse to be mixed, and some settings cannot be undone: each in a process of its own, by fork().
PROGRAM = """
import json, os, sys
import torch
from lossviz.engine.backend import full_precision

settings, backends = json.loads(sys.argv[1]), torch.backends
switches = {
    "fp32_precision": lambda: backends.fp32_precision,
    "cuda.matmul": lambda: backends.cuda.matmul.fp32_precision,
    **{f"cudnn{name}": lambda name=name: eval(f"backends.cudnn{name}.fp32_precision") for name in ("", ".conv")},
    "cudnn.rnn": lambda: torch._C._get_fp32_precision_getter("cuda", "rnn"),
    **{f"mkldnn.{name}": lambda name=name: getattr(backends.mkldnn, name).fp32_precision
       for name in ("matmul", "conv", "rnn")},
    "mkldnn": lambda: backends.mkldnn.fp32_precision,
    "allow_tf32 of cuBLAS": lambda: backends.cuda.matmul.allow_tf32,
    "allow_tf32 of cuDNN": lambda: backends.cudnn.allow_tf32,
    "matmul_precision": torch.get_float32_matmul_precision,
}

def read():
    found = {}
    for name, switch in switches.items():
        try:
            found[name] = switch()
        except RuntimeError:
            found[name] = "cannot be read"
    return found

def error():
    one, other = torch.rand(256, 256), torch.rand(256, 256)
    return float((one @ other - (one.double() @ other.double())).abs().max() / (one @ other).max())

def look(setting):
    exec(setting)
    before = read()
    with full_precision():
        with full_precision():
            pass
        inside, apart = read(), error()
    return before, inside, apart, read()

for setting in settings:
    sys.stdout.flush()
    if not os.fork():
        print(json.dumps(look(setting)))
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""
SETTINGS = (
    "",
    "torch.set_float32_matmul_precision('medium')",
    "torch.set_float32_matmul_precision('high')",
    "backends.cuda.matmul.allow_tf32 = True",
    "backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = False",
    "backends.fp32_precision = 'tf32'",
    "backends.fp32_precision = 'bf16'",
    "backends.cuda.matmul.fp32_precision = 'tf32'",
    "backends.cudnn.conv.fp32_precision = 'ieee'",
    "backends.mkldnn.matmul.fp32_precision = 'bf16'",
    # As the TrainingArguments of transformers with tf32=True.
    "backends.cuda.matmul.fp32_precision = backends.cudnn.fp32_precision = 'tf32'",
    "torch.set_float32_matmul_precision('medium'); backends.mkldnn.matmul.fp32_precision = 'ieee'",
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork()")
def test_full_precision_and_every_switch_afterwards() -> None:
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(SETTINGS)]
    done = subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == len(SETTINGS), done.stderr
    for setting, line in zip(SETTINGS, lines, strict=True):
        before, inside, error, after = json.loads(line)
        assert after == before, setting
        assert error < 1e-5, setting  # bfloat16 has 2e-3
        # torch.compile reads these; and no way of a GPU may be left open.
        assert inside["allow_tf32 of cuBLAS"] is inside["allow_tf32 of cuDNN"] is False, setting
        assert inside["matmul_precision"] == "highest", setting
        assert set(inside.values()) <= {"none", "ieee", "highest", False}, setting

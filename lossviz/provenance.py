"""The origin of a number: versions, code, machine."""

import hashlib
import os
import platform
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from lossviz._version import __version__

PACKAGES = ("torch", "torchvision", "numpy", "xarray", "h5py", "safetensors")
# Whose networks a configuration may name, where they are loaded.
LIBRARIES = ("timm", "transformers", "peft")


def versions() -> dict[str, str]:
    """Versions of Python, lossviz and the packages whose arithmetic or formats matter."""
    packages = (*PACKAGES, *(name for name in LIBRARIES if name in sys.modules))
    return {"python": platform.python_version(), "lossviz": __version__, **{name: version(name) for name in packages}}


@cache
def code_fingerprint() -> str:
    """SHA-256 over the package's source files and their names."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def machine() -> dict[str, str | int | None]:
    """Host, system, processor and number of cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return {"host": platform.node(), "system": platform.platform(), "processor": processor(), "cores": cores}


@cache
def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()

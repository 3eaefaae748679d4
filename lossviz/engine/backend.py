"""Which device computes, in which precision and layout, and why."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lossviz.config.train import Precision, Train
from lossviz.distributed.ranks import ranks
from lossviz.errors import refuse
from lossviz.provenance import processor


@dataclass(frozen=True)
class Backend:
    """Where and how the arithmetic is done; the same for training, probing and scanning a variant."""

    device: torch.device
    why_device: str
    dtype: torch.dtype
    precision: str
    why_precision: str
    channels_last: bool
    compile: bool

    @property
    def evaluation_batch(self) -> int:
        """Examples per forward pass by default."""
        return evaluation_batch(self.device)

    @property
    def autocast(self) -> torch.dtype | None:
        """The dtype of automatic mixed precision; None without it."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    @property
    def full_precision(self) -> str:
        """The precision of weights and sums, in which probes measure: float64 where that was asked for, or float32."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def warnings(self) -> list[str]:
        """Warnings about this choice."""
        if self.autocast and self.device.type == "cpu" and not computes_bfloat16():
            return [
                "warning: precision = bfloat16: this CPU has no instructions for it (avx512_bf16, amx_bf16 or bf16), "
                "so it is slower than float32, and has fewer digits"
            ]
        return []

    def place(self, model: nn.Module) -> nn.Module:
        """Move a network to the device, in this precision and layout."""
        own: list[dict[str, Any]] = [
            each for module in model.modules() for each in (module._parameters, module._buffers)
        ]
        wide = [
            (held, name, each) for held in own for name, each in held.items() if each is not None and each.is_complex()
        ]
        for held, name, _ in wide:  # Module.to would make them real
            held[name] = None
        model = model.to(self.device, self.dtype)
        # In float64 they would be in no safetensors file; torch multiplies complex numbers in float32 by any others.
        for held, name, tensor in wide:
            there = tensor.to(self.device)
            held[name] = nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there
        model._apply(self._laid_out)
        return model

    def _laid_out(self, tensor: Tensor) -> Tensor:
        # Module.to has no layout for weights of both 4 and 5 dimensions.
        if tensor.dim() < 4:
            return tensor
        last = self.channels_last and tensor.dim() == 4
        return tensor.to(memory_format=torch.channels_last if last else torch.contiguous_format)

    def line(self) -> str:
        """One line for a person."""
        layout = "channels_last" if self.channels_last else "contiguous"
        compiled = ", compiled" if self.compile else ""
        return f"{self._device_name()} ({self.why_device}); {self.precision} ({self.why_precision}); {layout}{compiled}"

    def facts(self) -> dict[str, Any]:
        """The same for run.json."""
        return {
            "device": str(self.device),
            "device_name": self._device_name(),
            "why_device": self.why_device,
            "threads": torch.get_num_threads(),
            "precision": self.precision,
            "why_precision": self.why_precision,
            "channels_last": self.channels_last,
            "compile": self.compile,
        }

    def _device_name(self) -> str:
        if self.device.type == "cuda":
            return f"{self.device}: {torch.cuda.get_device_name(self.device)}"
        threads = torch.get_num_threads()
        return f"cpu: {processor()}, {threads} thread{'s' if threads > 1 else ''}"


def evaluation_batch(device: torch.device) -> int:
    """Examples per forward pass that a device likes.

    On a CPU the activations should stay in its caches (ResNet-56 on two Zen 4 cores: 712 images/s at 64,
    644 at 250, 437 at 500); a GPU wants many at once.
    """
    return 64 if device.type == "cpu" else 1000


def computes_bfloat16() -> bool:
    """Whether this CPU has instructions that multiply bfloat16 numbers; true where torch cannot tell."""
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return not capabilities or any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def choose_backend(request: str, train: Train | None, precision: Precision = "auto") -> Backend:
    """Choose the device a person asked for, and set torch's switches so that results repeat on it.

    Args:
        request: auto, cpu, cuda or cuda:N.
        train: its precision, compile and channels_last; defaults where an experiment does not train.
        precision: instead of the training's; auto: the training's.

    Raises:
        RequestError: the device is not there, or cannot compute in that precision.
    """
    train = train or Train(steps=1)
    device, why = _device(request)
    section, wanted = ("train", train.precision) if precision == "auto" else ("surface", precision)
    if wanted == "tf32" and device.type != "cuda":
        problem = f"needs a CUDA device, and this is {device}"
        refuse(f"{section}.precision", problem, given=wanted, accepted="auto, float32, float64, bfloat16")
    _make_repeatable(device, tf32=wanted == "tf32")
    automatic = wanted == "auto"
    return Backend(
        device=device,
        why_device=why,
        dtype=torch.float64 if wanted == "float64" else torch.float32,
        precision="float32" if automatic else wanted,
        why_precision="the default" if automatic else "as configured",
        channels_last=train.channels_last is not False,
        compile=train.compile is True,
    )


def _device(request: str) -> tuple[torch.device, str]:
    here = ranks().local_rank
    if request == "auto":
        if torch.cuda.is_available():
            number = here % max(1, torch.cuda.device_count())
            return torch.device("cuda", number), "auto: a CUDA device"
        return torch.device("cpu"), "auto: no CUDA device is usable"
    try:
        device = torch.device(request)
    except RuntimeError:
        device = None
    if device is None or (device.type != "cuda" and request != "cpu"):
        refuse(f"--device {request}", accepted="auto, cpu, cuda, cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            advice = f"usable CUDA devices: {count}; or --device cpu"
            refuse(f"--device {request}", "there is no such device", advice=advice)
        device = torch.device("cuda", here % count if device.index is None else device.index)
    return device, "as asked"


def _make_repeatable(device: torch.device, tf32: bool) -> None:
    # torch allows TF32 in convolutions unless told otherwise: 1e-3 instead of 1e-7.
    # Not by fp32_precision: after that, reading allow_tf32 raises, and torch.compile reads it.
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        # Nothing here reads memory that was not written; torch would fill every new tensor with NaN first.
        switches: Any = torch.utils.deterministic
        switches.fill_uninitialized_memory = False


# Where torch keeps the precisions of float32; below the first three, those that say "none" take what these say.
# By its functions, as what `torch.backends.mkldnn.fp32_precision` sets is the first of all (torch 2.14).
_PRECISIONS = (
    ("generic", "all"),
    ("cuda", "all"),
    ("mkldnn", "all"),
    *((backend, operation) for backend in ("cuda", "mkldnn") for operation in ("matmul", "conv", "rnn")),
)


def allows_tf32() -> bool:
    """Whether convolutions may have TF32."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:  # it is on, and the newer of torch's ways to say so says otherwise
        return True


@contextmanager
def full_precision() -> Iterator[None]:
    """Switch off TF32 and bfloat16 in float32 arithmetic, whoever allowed them; put the switches back afterwards.

    torch has two ways to set them: fp32_precision, and before that allow_tf32 and set_float32_matmul_precision. Those
    cannot be read where both ways disagree: so they are read where the newer one says nothing.
    """
    read, write = torch._C._get_fp32_precision_getter, torch._C._set_fp32_precision_setter
    before, own = [read(*place) for place in _PRECISIONS], []
    for place in _PRECISIONS:
        own.append(read(*place))  # and not what it takes from above, which is "none" by now
        write(*place, "none")
    matmul = torch.get_float32_matmul_precision()
    cudnn = allows_tf32()
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn
        for place, mine, seen in zip(_PRECISIONS, own, before, strict=True):
            write(*place, mine)
            if read(*place) != seen:  # convolutions have TF32 by default, which gives way to what is said above
                write(*place, "none")

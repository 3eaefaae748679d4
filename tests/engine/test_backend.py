import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossviz.config.train import Precision, Train
from lossviz.engine.backend import Backend, choose_backend, full_precision
from lossviz.errors import RequestError


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A machine without CUDA devices, wherever this runs; torch's switches are put back."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    deterministic, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    yield monkeypatch
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def train(**keys: Any) -> Train:
    return Train.model_validate({"steps": 1, **keys})


@pytest.mark.parametrize("request_", ["gpu", "", "cpu:1", "mps", "meta", "cuda:x", "cuda:-1", "CPU", "auto:0"])
def test_unknown_devices_are_refused(request_: str) -> None:
    with pytest.raises(RequestError) as caught:
        choose_backend(request_, None)
    message = str(caught.value)
    assert f"--device {request_}" in message
    assert "accepted: auto, cpu, cuda, cuda:N" in message


@pytest.mark.parametrize("request_", ["cuda", "cuda:0", "cuda:7"])
def test_missing_cuda_devices_are_refused(request_: str) -> None:
    with pytest.raises(RequestError, match=rf"(?s)--device {request_}: there is no such device.*: 0; or --device cpu"):
        choose_backend(request_, None)


def test_the_number_of_usable_devices_is_told(cuda: pytest.MonkeyPatch) -> None:
    cuda.setattr(torch.cuda, "is_available", lambda: True)
    cuda.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(RequestError, match=r"usable CUDA devices: 2"):
        choose_backend("cuda:2", None)


def test_auto_takes_the_cpu_where_there_is_nothing_else() -> None:
    backend = choose_backend("auto", None)
    assert backend.device == torch.device("cpu")
    assert backend.line().startswith("cpu: ")
    assert "auto: no CUDA device is usable" in backend.line()
    assert "as asked" in choose_backend("cpu", None).line()


def choose_on_cuda(cuda: pytest.MonkeyPatch, precision: str) -> Backend:
    cuda.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cuda.setattr(torch.cuda, "is_available", lambda: True)
    cuda.setattr(torch.cuda, "get_device_name", lambda _: "Accelerator")
    return choose_backend("auto", train(precision=precision))


def test_auto_takes_a_cuda_device(cuda: pytest.MonkeyPatch) -> None:
    torch.backends.cudnn.benchmark = True
    backend = choose_on_cuda(cuda, "tf32")
    assert backend.device == torch.device("cuda", 0)
    assert backend.line().startswith("cuda:0: Accelerator (auto: a CUDA device); tf32 (as configured)")
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32


def test_full_precision_is_asked_of_cuda() -> None:
    choose_backend("cpu", None)
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_the_switches_of_cuda_can_still_be_read(cuda: pytest.MonkeyPatch, precision: str) -> None:
    # torch raises on reading when its two ways of setting them are mixed; torch.compile reads all of these.
    choose_on_cuda(cuda, precision)
    assert isinstance(torch.backends.cudnn.allow_tf32, bool)
    assert isinstance(torch.backends.cuda.matmul.allow_tf32, bool)
    assert torch.get_float32_matmul_precision() in ("high", "highest")
    with torch.backends.cudnn.flags(enabled=False):
        pass


def test_tf32_on_a_cpu_is_refused() -> None:
    message = r"(?s)train\.precision = tf32: needs a CUDA device, and this is cpu.*accepted: auto, float32, float64"
    with pytest.raises(RequestError, match=message):
        choose_backend("cpu", train(precision="tf32"))


@pytest.mark.parametrize(
    ("precision", "dtype", "line"),
    [
        ("auto", torch.float32, "float32 (the default)"),
        ("float32", torch.float32, "float32 (as configured)"),
        ("float64", torch.float64, "float64 (as configured)"),
    ],
)
def test_precision_and_its_reason(precision: str, dtype: torch.dtype, line: str) -> None:
    backend = choose_backend("cpu", train(precision=precision))
    assert backend.dtype == dtype
    assert line in backend.line()
    assert backend.facts()["precision"] == line.partition(" ")[0]


@pytest.mark.parametrize(("channels_last", "expected"), [("auto", True), (True, True), (False, False)])
def test_layout(channels_last: str | bool, expected: bool) -> None:
    backend = choose_backend("cpu", train(channels_last=channels_last, precision="float64"))
    model = backend.place(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
    weight = model.get_parameter("0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last) == expected
    assert weight.is_contiguous() == (not expected)
    assert {tensor.dtype for name, tensor in model.state_dict().items() if "num" not in name} == {torch.float64}
    assert re.search(r"; channels_last" if expected else r"; contiguous", backend.line())


class Rotated(nn.Module):
    """Turns its inputs by angles that it keeps as complex numbers, as language models do."""

    turns: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("turns", torch.polar(torch.ones(2), torch.tensor([0.5, 1.0])))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.view_as_real(torch.view_as_complex(inputs * self.scale) * self.turns)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_complex_buffers_stay_as_they_are(precision: str) -> None:
    inputs = torch.randn(3, 2, 2)
    expected = Rotated()(inputs)
    backend = choose_backend("cpu", train(precision=precision))
    model = backend.place(Rotated())
    assert model.get_buffer("turns").dtype == torch.complex64
    torch.testing.assert_close(model(inputs.to(backend.dtype)).float(), expected)


def test_weights_of_four_and_five_dimensions_have_layouts_of_their_own() -> None:
    model = choose_backend("cpu", train()).place(nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv3d(4, 4, 3), nn.LSTM(4, 4)))
    assert model.get_parameter("0.weight").is_contiguous(memory_format=torch.channels_last)
    assert model.get_parameter("1.weight").is_contiguous()


def test_a_network_that_moves_its_own_tensors_is_asked_to() -> None:
    class Moving(nn.Linear):
        asked = False

        def to(self, *arguments: Any, **named: Any) -> "Moving":
            self.asked = torch.float64 in arguments
            return super().to(*arguments, **named)

    model = Moving(2, 2)
    choose_backend("cpu", train(precision="float64")).place(model)
    assert model.asked


def test_compile_is_only_on_request() -> None:
    for value, expected in (("auto", False), (False, False), (True, True)):
        backend = choose_backend("cpu", train(compile=value))
        assert backend.compile == expected
        assert backend.line().endswith(", compiled") == expected


def test_facts_are_plain_and_agree_with_the_line() -> None:
    backend = choose_backend("cpu", None)
    facts = backend.facts()
    assert facts["threads"] == torch.get_num_threads()
    assert {type(value) for value in facts.values()} <= {str, int, bool}
    assert all(facts[key] in backend.line() for key in ("device_name", "why_device", "precision", "why_precision"))


@pytest.mark.parametrize(
    ("own", "dtype", "named"), [("float64", torch.float64, "float64"), ("auto", torch.float32, "bfloat16")]
)
def test_a_scan_may_have_a_precision_of_its_own(own: Precision, dtype: torch.dtype, named: str) -> None:
    backend = choose_backend("cpu", train(precision="bfloat16"), own)
    assert (backend.dtype, backend.precision) == (dtype, named)
    assert backend.autocast == (torch.bfloat16 if named == "bfloat16" else None)


def test_a_refused_precision_of_a_scan_is_named_by_its_key() -> None:
    with pytest.raises(RequestError, match=r"surface\.precision = tf32"):
        choose_backend("cpu", None, "tf32")


def test_full_precision_puts_the_switches_back() -> None:
    torch.backends.cudnn.allow_tf32 = True
    with full_precision():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32


def test_processes_on_one_machine_take_their_own_devices(cuda: pytest.MonkeyPatch) -> None:
    cuda.setattr(torch.cuda, "device_count", lambda: 4)
    for name, value in (("RANK", "6"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "2")):
        cuda.setenv(name, value)
    assert choose_on_cuda(cuda, "float32").device == torch.device("cuda", 2)


@pytest.mark.parametrize(
    ("capabilities", "warned"),
    [
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, False),
        ({"architecture": "aarch64", "bf16": True}, False),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, True),
        ({}, False),
    ],
)
def test_a_cpu_without_bfloat16_is_warned_about(
    cuda: pytest.MonkeyPatch, capabilities: dict[str, Any], warned: bool
) -> None:
    cuda.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_backend("cpu", train()).warnings == []
    lines = choose_backend("cpu", train(precision="bfloat16")).warnings
    assert len(lines) == warned
    assert all(line.startswith("warning: ") and "bfloat16" in line for line in lines)


def test_a_gpu_is_not_asked_what_the_cpu_can(cuda: pytest.MonkeyPatch) -> None:
    cuda.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False)
    assert choose_on_cuda(cuda, "bfloat16").warnings == []

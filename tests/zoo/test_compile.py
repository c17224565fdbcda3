"""The parts of all systems compile whole, once for clips of any length, and the host never waits.

``pytest -m slow`` compiles the decoders of all systems, the backward passes and clips of one frame
too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from segblocks.nn import ConfidentThings
from segblocks.nn.clip_output import ClipOutput, Prediction
from tests.zoo.decoder_inputs import (
    SIZE,
    SYSTEMS,
    DecoderInputs,
    decode_with,
    decoder_inputs,
    pyramid,
    small_model,
)

on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
BACKENDS = ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)]
# Its injection of shapes works on the queries that are selected, whose number the host has to know.
WITHOUT_SELECTION = {"gvseg": {"injection": False}}
NECKS = ("tarvis", "mask2former_vis")  # with cells and without


@functools.cache
def model_of(system: str, selects: bool = True) -> Any:
    return small_model(system, **({} if selects else WITHOUT_SELECTION.get(system, {})))


@functools.cache
def inputs_of(system: str, num_frames: int, selects: bool = True) -> DecoderInputs:
    return decoder_inputs(model_of(system, selects), num_frames)


def levels_of(model: Any, num_frames: int) -> dict[int, Tensor]:
    return pyramid(dict.fromkeys((4, 8, 16, 32), model.config.embed_dim), num_frames)


def outputs_and_gradients(
    module: nn.Module, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> list[Tensor]:
    module.zero_grad()
    outputs = tree_leaves(function(*arguments))
    torch.stack([x.float().square().mean() for x in outputs]).sum().backward()
    gradients = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    return [*(x.detach() for x in outputs), *gradients]


def check_one_graph_for_any_length(
    module: nn.Module,
    function: Callable[..., Any],
    make_arguments: Callable[[int], tuple[Any, ...]],
    backend: str,
) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(function, backend=counter, fullgraph=True)
    lengths = {2: 1, 3: 1}
    if backend != "eager":
        # Clips of one frame are compiled by themselves, as compilers take a size of one for fixed.
        lengths[1] = 2
    for num_frames, graphs in lengths.items():
        arguments = make_arguments(num_frames)
        got = outputs_and_gradients(module, compiled, arguments)
        assert counter.frame_count == graphs
        want = outputs_and_gradients(module, function, arguments)
        for g, w in zip(got, want, strict=True):
            assert (g - w).norm() <= 1e-4 * w.norm().clamp(min=1e-2)


def let_vary(x: Tensor, dim: int) -> Tensor:
    if x.shape[dim] > 1:
        torch._dynamo.mark_dynamic(x, dim)
    return x


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_backbone_compiles_once(backend: str) -> None:
    backbone = model_of("mask2former_vis").backbone
    check_one_graph_for_any_length(
        backbone,
        backbone,
        lambda t: (let_vary(torch.rand(1, t, 3, *SIZE), 1).requires_grad_(),),
        backend,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("system", NECKS)
def test_necks_compile_once(system: str, backend: str) -> None:
    model = model_of(system)

    def arguments(num_frames: int) -> tuple[dict[int, Tensor]]:
        features = pyramid(model.backbone.channels, num_frames)
        return ({stride: let_vary(x, 1) for stride, x in features.items()},)

    check_one_graph_for_any_length(model.neck, model.neck, arguments, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "system",
    [name if name == "univs" else pytest.param(name, marks=pytest.mark.slow) for name in SYSTEMS],
)
def test_decoders_compile_once(system: str, backend: str) -> None:
    model = model_of(system)

    def arguments(num_frames: int) -> tuple[Any, ...]:
        content, position, memories, times = inputs_of(system, num_frames).tensors
        if content.dim() == 4:
            content, position = let_vary(content, 2), let_vary(position, 2)
        levels = {stride: let_vary(x, 1) for stride, x in levels_of(model, num_frames).items()}
        return levels, content, position, memories, None if times is None else let_vary(times, 0)

    decode = decode_with(model.decoder, inputs_of(system, 2))
    check_one_graph_for_any_length(model.decoder, decode, arguments, backend)


class RaiseOnTransfer(TorchDispatchMode):
    """Refuse operations whose tensors lie on different devices: for each the host would wait."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        devices = {x.device.type for x in tensors}
        if len(devices) > 1:
            raise AssertionError(f"{func} moves between {devices}")
        return out


def call_on_fake_gpu(module: nn.Module, function: Callable[..., Any], arguments: Any) -> None:
    """Run on tensors without memory, which cannot tell their values, on a GPU that is not there."""
    mode = FakeTensorMode()
    parts = [*module.named_parameters(), *module.named_buffers()]
    faked: dict[str, Tensor] = {f"module.{n}": mode.from_tensor(part) for n, part in parts}
    arguments = tree_map_only(Tensor, mode.from_tensor, arguments)
    with mode, torch.no_grad():
        faked = {name: part.to("cuda") for name, part in faked.items()}
        arguments = tree_map_only(Tensor, lambda x: x.to("cuda"), arguments)
        with RaiseOnTransfer():
            torch.func.functional_call(_Caller(module, function), faked, arguments)


class _Caller(nn.Module):
    """A function as the call of a module whose parameters it uses."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.module = module
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def no_waiting_decoder(system: str) -> tuple[nn.Module, Callable[..., Any], tuple[Any, ...]]:
    model, inputs = model_of(system, selects=False), inputs_of(system, 2, selects=False)
    inputs = DecoderInputs(**{**vars(inputs), "select": None})
    levels = levels_of(model, 2)
    return model.decoder, decode_with(model.decoder, inputs), (levels, *inputs.tensors)


@pytest.mark.parametrize("system", NECKS)
def test_necks_never_wait(system: str) -> None:
    model = model_of(system)
    call_on_fake_gpu(model.neck, model.neck, (pyramid(model.backbone.channels, 2),))


@pytest.mark.parametrize("system", SYSTEMS)
def test_decoders_never_wait(system: str) -> None:
    module, decode, arguments = no_waiting_decoder(system)
    *tensors, times = arguments
    call_on_fake_gpu(module, decode, arguments)
    if times is not None:  # numbers do not wait either
        call_on_fake_gpu(module, lambda *given: decode(*given, (5, 6)), tuple(tensors))


@pytest.mark.parametrize("system", SYSTEMS)
def test_backward_passes_never_wait(system: str) -> None:
    module, decode, arguments = no_waiting_decoder(system)
    mode = FakeTensorMode()
    leaves = tree_map_only(Tensor, mode.from_tensor, arguments)
    parts = module.named_parameters()
    faked: dict[str, Tensor] = {f"module.{n}": mode.from_tensor(part) for n, part in parts}
    with mode:
        outputs = torch.func.functional_call(_Caller(module, decode), faked, leaves)
        torch.stack([x.square().mean() for x in outputs]).sum().backward()
    assert faked["module.level_embedding"].grad is not None


def test_selected_shapes_wait_and_the_test_sees_it() -> None:
    model, inputs = model_of("gvseg"), inputs_of("gvseg", 2)
    assert isinstance(inputs.select, ConfidentThings)
    inputs = DecoderInputs(**{**vars(inputs), "select": None})
    with pytest.raises(DynamicOutputShapeException):
        call_on_fake_gpu(
            model.decoder,
            decode_with(model.decoder, inputs),
            (levels_of(model, 2), *inputs.tensors),
        )


def test_a_copy_to_the_device_is_seen() -> None:
    module = nn.Linear(2, 2)
    with pytest.raises(AssertionError, match="moves between"):
        call_on_fake_gpu(module, lambda x: module(x) + x.new_tensor([1.0, 2.0]), (torch.ones(2),))


def on_device(system: str) -> list[tuple[nn.Module, Callable[..., Any], tuple[Any, ...]]]:
    """Neck and decoder of a system with their arguments, on a GPU."""
    model = model_of(system, selects=False)
    neck = (model.neck, model.neck, (pyramid(model.backbone.channels, 2),))
    return [
        (module.cuda(), function, tree_map_only(Tensor, Tensor.cuda, arguments))
        for module, function, arguments in (neck, no_waiting_decoder(system))
    ]


@pytest.mark.parametrize("system", [pytest.param(name, marks=on_gpu) for name in SYSTEMS])
def test_a_gpu_sees_no_waiting(system: str) -> None:
    for case in on_device(system):
        outputs_and_gradients(*case)  # kernels are compiled, and what is cached is made
        torch.cuda.set_sync_debug_mode("error")
        try:
            outputs_and_gradients(*case)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("system", [pytest.param(name, marks=on_gpu) for name in SYSTEMS])
def test_a_gpu_can_capture_forward_and_backward(system: str) -> None:
    for module, function, arguments in on_device(system):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                outputs_and_gradients(module, function, arguments)
            want = outputs_and_gradients(module, function, arguments)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            got = outputs_and_gradients(module, function, arguments)
        for x in got:
            x.zero_()
        graph.replay()
        for g, w in zip(got, want, strict=True):
            assert (g - w).norm() <= 1e-4 * w.norm().clamp(min=1e-2)


def test_an_output_is_made_inside_a_graph() -> None:
    @torch.compile(backend="eager", fullgraph=True)
    def shown(embeddings: Tensor, features: Tensor) -> Tensor:
        prediction = Prediction(embeddings, embeddings)
        return ClipOutput((prediction,), features, {"all": slice(0, 2)}, (16, 16), (0,)).mask_logits

    embeddings, features = torch.rand(1, 2, 3), torch.rand(1, 1, 3, 4, 4)
    expected = torch.einsum("bqc,btchw->bqthw", embeddings, features)
    torch.testing.assert_close(shown(embeddings, features), expected)

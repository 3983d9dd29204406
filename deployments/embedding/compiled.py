"""A transformer compiled by OpenVINO, for CPUs: a lone question takes a third of torch's time, many passages as long.

Most of a short text's time in torch goes into calling hundreds of small operations; OpenVINO fuses them.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import openvino
import torch
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn

Features = Mapping[str, Any]
"""What the model's tokenizer makes of a batch; those that are tensors are read."""
Encode = Callable[[Features], Tensor]
"""Features of shape (texts, tokens) → last hidden states (texts, tokens, size)."""
_NEAR = 1e-3
"""How far a value may be from torch's. Rounding stays far below; what was taken for a constant and is none does not."""


class CompiledTransformer:
    """Safe to use from several threads at once."""

    def __init__(self, module: nn.Module, example: Features, other: Features) -> None:
        """`module`: a model's first one. `example` is traced; `other`, of another shape, must then come out as in
        torch. Both should have padding. Raises RuntimeError if it doesn't, or whatever the converter raises for a model
        that it can't read."""
        if not isinstance(module, Transformer) or module.module_output_name != "token_embeddings":
            raise RuntimeError("its first module is not a transformer that gives tokens' embeddings")
        self._names = [name for name, value in example.items() if torch.is_tensor(value)]
        whole = _LastHiddenState(module.model, self._names).eval()
        self._core = openvino.Core()
        with warnings.catch_warnings(action="ignore"), torch.inference_mode():
            self._model = openvino.convert_model(whole, example_input=tuple(self._tensors(example)))
            expected = whole(*self._tensors(other))
        self.alone = self.lanes(1, torch.get_num_threads())
        """For one pass at a time, on all threads."""
        found = self.alone(other)
        read = other["attention_mask"].bool()
        if not torch.allclose(found[read], expected[read], atol=_NEAR):
            raise RuntimeError("compiled, it does not compute what it does in torch")

    def lanes(self, count: int, threads: int) -> Encode:
        """The model for so many passes at the same time, each on so many CPU threads, which are made when it is first
        called and are as nice as the thread that calls."""
        return _Lanes(self._compile, self._tensors, count, threads)

    def _tensors(self, features: Features) -> list[Tensor]:
        return [features[name] for name in self._names]

    def _compile(self, count: int, threads: int) -> Any:
        settings = {
            "NUM_STREAMS": count,
            "INFERENCE_NUM_THREADS": count * threads,
            "INFERENCE_PRECISION_HINT": "f32",
            # Other processes on this machine would pin theirs to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(self._model, "CPU", settings)


class _Lanes:
    def __init__(
        self,
        compile_model: Callable[[int, int], Any],
        tensors: Callable[[Features], list[Tensor]],
        count: int,
        threads: int,
    ) -> None:
        self._compile = compile_model
        self._tensors = tensors
        self._size = count, threads
        self._first = threading.Lock()
        self._compiled: Any = None
        self._own = threading.local()

    def __call__(self, features: Features) -> Tensor:
        given = [tensor.numpy() for tensor in self._tensors(features)]
        return torch.from_numpy(self._request().infer(given, share_inputs=True)[0])

    def _request(self) -> Any:
        """The calling thread's own: one request runs once at a time."""
        if not hasattr(self._own, "request"):
            with self._first:
                self._compiled = self._compiled or self._compile(*self._size)
            self._own.request = self._compiled.create_infer_request()
        return self._own.request


class _LastHiddenState(nn.Module):
    """With tensors for arguments, as tracing wants them."""

    def __init__(self, transformer: nn.Module, names: list[str]) -> None:
        super().__init__()
        self._transformer = transformer
        self._names = names

    def forward(self, *tensors: Tensor) -> Tensor:
        hidden: Tensor = self._transformer(**dict(zip(self._names, tensors, strict=True))).last_hidden_state
        return hidden

"""A transformer compiled by OpenVINO for CPUs: a question takes a third of torch's time, passages two thirds or less.

For short texts torch spends most of its time calling hundreds of small operations; OpenVINO fuses them.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import openvino
import torch
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn

from deployments.embedding.eight_bits import quantise_weights

Features = Mapping[str, Any]
"""What the model's tokenizer makes of a batch. The model reads those that are tensors, shape (texts, tokens)."""
Encode = Callable[[Features], Tensor]
"""Features → last hidden states, shape (texts, tokens, size)."""
Precision = Literal["f32", "bf16"]
_TOLERANCE = 1e-3
"""How far a token's vector may be from torch's, as a share of its length. Rounding errors are far smaller in float32;
wrongly traced constants are far larger."""
_TOLERANCE_ROUNDED = 0.2
"""The same in bfloat16 or with weights in eight bits. It corresponds to a cosine of 0.98."""
_QUANTISED_TOGETHER = 64
"""Numbers that share a scale where they are multiplied with weights in eight bits. With more of them the cosine to
float32 falls, with fewer it takes longer."""


class CompiledTransformer:
    """Safe to use from several threads at once."""

    def __init__(
        self,
        module: nn.Module,
        example: Features,
        other: Features,
        *,
        precision: Precision = "f32",
        int8_weights: bool = False,
    ) -> None:
        """Compile `module`, the first module of a model in float32, by tracing it with `example`. Then compare its
        results for `other` with torch's. The two should have different shapes, and padding.

        Raises RuntimeError if the results differ, or what the converter raises for a model that it cannot read.
        """
        if not isinstance(module, Transformer) or module.module_output_name != "token_embeddings":
            raise RuntimeError("its first module is not a transformer that gives tokens' embeddings")
        self._names = [name for name, value in example.items() if torch.is_tensor(value)]
        traceable = _LastHiddenState(module.model, self._names).eval()
        self._core = openvino.Core()
        with warnings.catch_warnings(action="ignore"), torch.inference_mode():
            self._model = openvino.convert_model(traceable, example_input=tuple(self._tensors(example)))
            expected = traceable(*self._tensors(other))
        self._precision = precision
        self._has_int8_weights = int8_weights and quantise_weights(self._model) > 0
        self.single_stream = self.streams(1, torch.get_num_threads())
        """For one pass at a time, on all threads."""
        actual = self.single_stream(other)
        is_token = other["attention_mask"].bool()
        tolerance = _TOLERANCE if precision == "f32" and not self._has_int8_weights else _TOLERANCE_ROUNDED
        distances = (actual - expected)[is_token].norm(dim=-1) / expected[is_token].norm(dim=-1)
        if not distances.max() <= tolerance:
            raise RuntimeError("compiled, it does not compute what it does in torch")

    def streams(self, count: int, threads: int) -> Encode:
        """The model for `count` passes at the same time, each on `threads` CPU threads.

        The threads are made at the first call. They inherit the calling thread's priority.
        """
        return _Streams(self._compile, self._tensors, count, threads)

    def _tensors(self, features: Features) -> list[Tensor]:
        return [features[name] for name in self._names]

    def _compile(self, streams: int, threads: int) -> Any:
        settings = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * threads,
            "INFERENCE_PRECISION_HINT": self._precision,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _QUANTISED_TOGETHER if self._has_int8_weights else 0,
            # Other processes on this machine would pin theirs to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(self._model, "CPU", settings)


class _Streams:
    """Compiled at the first call. Each calling thread has its own request, because a request runs once at a time."""

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
        self._compiling = threading.Lock()
        self._compiled: Any = None
        self._of_thread = threading.local()

    def __call__(self, features: Features) -> Tensor:
        inputs = [tensor.numpy() for tensor in self._tensors(features)]
        return torch.from_numpy(self._request().infer(inputs, share_inputs=True)[0])

    def _request(self) -> Any:
        if not hasattr(self._of_thread, "request"):
            with self._compiling:
                self._compiled = self._compiled or self._compile(*self._size)
            self._of_thread.request = self._compiled.create_infer_request()
        return self._of_thread.request


class _LastHiddenState(nn.Module):
    """The transformer with tensors as positional arguments, as tracing needs them."""

    def __init__(self, transformer: nn.Module, names: list[str]) -> None:
        super().__init__()
        self._transformer = transformer
        self._names = names

    def forward(self, *tensors: Tensor) -> Tensor:
        hidden: Tensor = self._transformer(**dict(zip(self._names, tensors, strict=True))).last_hidden_state
        return hidden

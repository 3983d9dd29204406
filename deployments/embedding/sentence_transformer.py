"""Embeddings by a sentence-transformers model, on CPU or GPU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from sentence_transformers.util import batch_to_device
from transformers.utils import logging as transformers_logging

from deployments.embedding.base import TokenVectors
from deployments.embedding.compiled import CompiledTransformer, Encode, Precision
from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.fingerprint import fingerprint
from deployments.errors import StageUnavailable
from deployments.inference.loading import load, parallelism, use_threads
from deployments.inference.weights import display_name
from deployments.inference.windows import Window, split_into_windows, untruncated
from deployments.types import EmbedderInfo, Matrix, TextKind

logger = logging.getLogger(__name__)

_PROMPT_NAMES: dict[TextKind, tuple[str, ...]] = {"query": ("query",), "passage": ("passage", "document")}
_USUAL_MAX_TOKENS = 512
"""For the rare model whose files do not say how many tokens it reads."""
_SMALLEST_WINDOW = 16
"""Tokens that a prompt must leave for text."""
_LENGTH_STEP = 16
"""Inputs are padded to a multiple of this. The CPU backend keeps code and buffers for each input length, which would be
hundreds of MiB for all lengths."""
_EXAMPLES = (["warm up", "a text with more words than that"], ["one", "two words", "and a third text"])
"""Batches of different shapes, both with padding: one to trace the model with, one to check it with."""
_BFLOAT16 = ("amx_bf16", "avx512_bf16")
"""torch's names of the CPU features for bfloat16 arithmetic; either is enough."""


class SentenceTransformerEmbedder:
    """On CPUs a question's forward pass runs on all threads, to end soon. Passages' passes run at the same time,
    each on one thread."""

    def __init__(self, config: EmbeddingConfig) -> None:
        """Load the model from this machine's files. Raises StageUnavailable if they are missing or cannot be used."""
        transformers_logging.disable_progress_bar()
        self._model, folder = load("embedding", config, lambda folder: (_model(folder, config), folder))
        self._config = config
        self.concurrent_passes, passage_threads = parallelism(config.device)
        self._threads: dict[TextKind, int] = {"query": torch.get_num_threads(), "passage": passage_threads}
        self._compiled: dict[TextKind, Encode] = {}
        if (compiled := self._compile()) is not None:
            self._compiled = {
                "query": compiled.single_stream,
                "passage": compiled.streams(self.concurrent_passes, passage_threads),
            }
        self._tokenizing = threading.Lock()
        """Held around the model's own tokenizer, which refuses a second caller at the same time."""
        self._prompts: dict[TextKind, str] = {
            "query": self._prompt("query", config.query_prompt),
            "passage": self._prompt("passage", config.passage_prompt),
        }
        # transformers sets its own tokenizer's flag at each call. A special token's name in a text is text.
        self._model.tokenizer.split_special_tokens = True
        self._tokenizer = untruncated(self._model.tokenizer.backend_tokenizer.to_str())
        self._max_tokens = max_tokens = int(self._model.max_seq_length or _USUAL_MAX_TOKENS)
        self._capacity = max_tokens - self._tokenizer.num_special_tokens_to_add(False)
        for kind, prompt in self._prompts.items():
            if len(self._tokenizer.encode(prompt).ids) + _SMALLEST_WINDOW > max_tokens:
                raise StageUnavailable(
                    f"embedding.{kind}_prompt leaves no room for text in the {max_tokens} tokens that "
                    f"{config.model!r} reads; shorten it"
                )
        dimension = int(self._model.get_embedding_dimension())
        self._averages_tokens = _averages_tokens(self._model)
        self.info = EmbedderInfo(
            model=display_name(config.model),
            fingerprint=fingerprint(folder, self._prompts, max_tokens, dimension, "unit length"),
            dimension=dimension,
            max_tokens=max_tokens - self._count(self._prompts["passage"]),
            tokenizer_json=self._tokenizer.to_str(),
            languages=config.known_languages,
        )

    def count_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        prompt = self._prompts[kind]
        return [len(encoding) for encoding in self._tokenizer.encode_batch([prompt + text for text in texts])]

    def split(self, texts: Sequence[str], kind: TextKind) -> list[list[Window]]:
        return split_into_windows(self._tokenizer, texts, self._capacity, self._prompts[kind])

    def forward(self, windows: Sequence[Window], kind: TextKind) -> Matrix:
        return _unit(self._outputs(windows, kind)["sentence_embedding"])

    def forward_tokens(self, windows: Sequence[Window], kind: TextKind) -> TokenVectors | None:
        if not self._averages_tokens:
            return None
        outputs = self._outputs(windows, kind)
        tokens = _unit(outputs["token_embeddings"])
        of_text = self._tokens_of_text(windows, kind)
        found = [vectors[positions] for vectors, positions in zip(tokens, of_text, strict=True)]
        return TokenVectors(_unit(outputs["sentence_embedding"]), found)

    def _tokens_of_text(self, windows: Sequence[Window], kind: TextKind) -> list[list[int]]:
        """The positions of each window's own tokens: neither special ones nor the prompt's.

        The blank at the prompt's end may be a part of the text's first token.
        """
        prompt = self._prompts[kind]
        encodings = self._tokenizer.encode_batch([prompt + window.text for window in windows])
        return [
            [
                position
                for position, (special, (start, end)) in enumerate(
                    zip(encoding.special_tokens_mask, encoding.offsets, strict=True)
                )
                if not special and end > max(start, len(prompt)) and position < self._max_tokens
            ]
            for encoding in encodings
        ]

    def _outputs(self, windows: Sequence[Window], kind: TextKind) -> dict[str, Any]:
        # Not the library's `encode`: that serves one caller at a time.
        use_threads(self._threads[kind])
        with self._tokenizing:
            texts = [window.text for window in windows]
            features = self._padded(self._model.preprocess(texts, prompt=self._prompts[kind]))
        with torch.inference_mode():
            return self._run(features, kind)

    def _run(self, features: dict[str, Any], kind: TextKind) -> dict[str, Any]:
        if kind not in self._compiled:
            outputs: dict[str, Any] = self._model(batch_to_device(features, self._model.device))
            return outputs
        features["token_embeddings"] = self._compiled[kind](features)
        for module in list(self._model.children())[1:]:
            features = module(features)
        return features

    def _compile(self) -> CompiledTransformer | None:
        """The model for OpenVINO, or None where torch is to compute."""
        config = self._config
        if not _may_compile(config):
            return None
        examples = map(self._model.preprocess, _EXAMPLES)
        precision: Precision = "bf16" if dtype(config) == torch.bfloat16 else "f32"
        try:
            return CompiledTransformer(self._model[0], *examples, precision=precision, int8_weights=config.int8_weights)
        except Exception as error:  # the converter raises any error for a model that it does not know
            problem = f"OpenVINO cannot run embedding.model {config.model!r}: {error}"
            if config.runtime == "openvino":
                raise StageUnavailable(f"{problem}; set embedding.runtime to auto or torch") from error
            logger.warning("%s; torch computes", problem)
            self._model.to(dtype(config))
            return None

    def _padded(self, features: dict[str, Any]) -> dict[str, Any]:
        """The features padded to a multiple of `_LENGTH_STEP` tokens, but to no more than the model reads."""
        mask = features["attention_mask"]
        tokens = mask.shape[1]
        extra = max(0, min(tokens + -tokens % _LENGTH_STEP, self._max_tokens) - tokens)
        padding = (extra, 0) if self._model.tokenizer.padding_side == "left" else (0, extra)
        fill_values = {"input_ids": self._model.tokenizer.pad_token_id or 0}
        return {
            name: torch.nn.functional.pad(value, padding, value=fill_values.get(name, 0))
            if torch.is_tensor(value) and value.shape == mask.shape
            else value
            for name, value in features.items()
        }

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _prompt(self, kind: TextKind, configured: str | None) -> str:
        if configured is not None:
            return configured
        return next((prompt for name in _PROMPT_NAMES[kind] if (prompt := self._model.prompts.get(name))), "")


def _averages_tokens(model: SentenceTransformer) -> bool:
    """Whether a text's vector is the mean of its tokens' vectors, which can then be compared one by one. Its padding
    must be on the right, as that of encoders is."""
    pooling = [module for module in model if isinstance(module, Pooling)]
    others = [module for module in list(model)[1:] if not isinstance(module, Pooling | Normalize)]
    return (
        not others
        and [module.pooling_mode for module in pooling] == ["mean"]
        and model.tokenizer.padding_side == "right"
        and model.get_embedding_dimension() % 4 == 0
    )


def _unit(vectors: torch.Tensor) -> Matrix:
    """Vectors of unit length, in float32."""
    with torch.inference_mode():
        unit: Matrix = torch.nn.functional.normalize(vectors, dim=-1).float().cpu().numpy()
    return unit


def _may_compile(config: EmbeddingConfig) -> bool:
    """Whether OpenVINO is to be tried."""
    return config.runtime != "torch" and config.device == "cpu" and dtype(config) in (torch.float32, torch.bfloat16)


def _model(folder: Path, config: EmbeddingConfig) -> SentenceTransformer:
    """OpenVINO rounds the weights by itself, if at all."""
    number_format = torch.float32 if _may_compile(config) else dtype(config)
    model = SentenceTransformer(
        str(folder), device=config.device, local_files_only=True, model_kwargs={"dtype": number_format}
    )
    return model.eval()


def dtype(config: EmbeddingConfig) -> torch.dtype:
    """The number format that the model computes in.

    A CPU without bfloat16 instructions emulates them, many times slower than float32.
    """
    if config.dtype == "auto":
        has_fast_bfloat16 = config.device == "cuda" or any(torch.cpu.get_capabilities().get(name) for name in _BFLOAT16)
        return torch.bfloat16 if has_fast_bfloat16 else torch.float32
    named: torch.dtype = getattr(torch, config.dtype)
    return named

"""Embeddings by a sentence-transformers model, on CPU or GPU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from transformers.utils import logging as transformers_logging

from deployments.embedding.compiled import CompiledTransformer, Encode
from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.fingerprint import fingerprint
from deployments.errors import StageUnavailable
from deployments.inference import windows
from deployments.inference.loading import load, shared_threads, use_threads
from deployments.inference.weights import display_name
from deployments.inference.windows import Window
from deployments.types import EmbedderInfo, Matrix, TextKind

logger = logging.getLogger(__name__)

_PROMPT_NAMES: dict[TextKind, tuple[str, ...]] = {"query": ("query",), "passage": ("passage", "document")}
_USUAL_MAX_TOKENS = 512
"""For the rare model whose files don't say how much it reads."""
_SMALLEST_WINDOW = 16
_EVEN = 16
"""For each length of its input the CPU backend keeps code and buffers, hundreds of MiB for all that there are."""
_EXAMPLES = (["warm up", "a text with more words than that"], ["one", "two words", "and a third text"])
"""Of unlike shapes, each padded."""
_BFLOAT16 = ("amx_bf16", "avx512_bf16")
"""torch's names of what a CPU must have to multiply it."""


class SentenceTransformerEmbedder:
    """On CPUs a question's forward pass has all threads, so that it is over soon; passages' passes share them."""

    def __init__(self, config: EmbeddingConfig) -> None:
        """Load the model from this machine's files. Raises StageUnavailable if they are missing or can't be used."""
        transformers_logging.disable_progress_bar()
        self._model, folder = load("embedding", config, lambda folder: (_model(folder, config), folder))
        self._config = config
        self.lanes, each = shared_threads(config.device)
        self._threads: dict[TextKind, int] = {"query": torch.get_num_threads(), "passage": each}
        self._compiled: dict[TextKind, Encode] = {}
        if (compiled := self._compile()) is not None:
            self._compiled = {
                "query": compiled.alone,
                "passage": compiled.lanes(self.lanes, each),
            }
        self._tokenizing = threading.Lock()
        """The model's own tokenizer refuses a second caller while it has one."""
        self._prompts: dict[TextKind, str] = {
            "query": self._prompt("query", config.query_prompt),
            "passage": self._prompt("passage", config.passage_prompt),
        }
        self._tokenizer = windows.untruncated(self._model.tokenizer.backend_tokenizer.to_str())
        max_tokens = int(self._model.max_seq_length or _USUAL_MAX_TOKENS)
        self._capacity = max_tokens - self._tokenizer.num_special_tokens_to_add(False)
        for kind, prompt in self._prompts.items():
            if len(self._tokenizer.encode(prompt).ids) + _SMALLEST_WINDOW > max_tokens:
                raise StageUnavailable(
                    f"embedding.{kind}_prompt leaves no room for text in the {max_tokens} tokens that "
                    f"{config.model!r} reads; shorten it"
                )
        dimension = int(self._model.get_embedding_dimension())
        self.info = EmbedderInfo(
            model=display_name(config.model),
            fingerprint=fingerprint(folder, self._prompts, max_tokens, dimension, "unit length"),
            dimension=dimension,
            max_tokens=max_tokens,
            tokenizer_json=self._tokenizer.to_str(),
            languages=config.languages,
        )

    def count_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        prompt = self._prompts[kind]
        return [len(encoding) for encoding in self._tokenizer.encode_batch([prompt + text for text in texts])]

    def cut(self, texts: Sequence[str], kind: TextKind) -> list[list[Window]]:
        return windows.split(self._tokenizer, texts, self._capacity, self._prompts[kind])

    def forward(self, cut: Sequence[Window], kind: TextKind) -> Matrix:
        # The library's `encode` does the same, but for one caller at a time.
        use_threads(self._threads[kind])
        with self._tokenizing:
            features = self._evened(self._model.preprocess([window.text for window in cut], prompt=self._prompts[kind]))
        with torch.inference_mode():
            vectors = self._run(features, kind)["sentence_embedding"]
            encoded: Matrix = torch.nn.functional.normalize(vectors, dim=-1).float().cpu().numpy()
        return encoded

    def _run(self, features: dict[str, Any], kind: TextKind) -> dict[str, Any]:
        if kind not in self._compiled:
            found: dict[str, Any] = self._model(batch_to_device(features, self._model.device))
            return found
        features["token_embeddings"] = self._compiled[kind](features)
        for module in list(self._model.children())[1:]:
            features = module(features)
        return features

    def _compile(self) -> CompiledTransformer | None:
        """None where torch computes."""
        config = self._config
        if config.runtime == "torch" or config.device != "cpu" or dtype(config) != torch.float32:
            return None
        try:
            return CompiledTransformer(self._model[0], *map(self._model.preprocess, _EXAMPLES))
        except Exception as error:  # whatever a converter raises for a model that it doesn't know
            told = f"OpenVINO cannot run embedding.model {config.model!r}: {error}"
            if config.runtime == "openvino":
                raise StageUnavailable(f"{told}; set embedding.runtime to auto or torch") from error
            logger.warning("%s; torch computes", told)
            return None

    def _evened(self, features: dict[str, Any]) -> dict[str, Any]:
        """Padded further, to a multiple of _EVEN tokens, or to what the model reads if that is less."""
        mask = features["attention_mask"]
        read = mask.shape[1]
        extra = max(0, min(read + -read % _EVEN, self.info.max_tokens) - read)
        places = (extra, 0) if self._model.tokenizer.padding_side == "left" else (0, extra)
        filled = {"input_ids": self._model.tokenizer.pad_token_id or 0}
        return {
            name: torch.nn.functional.pad(value, places, value=filled.get(name, 0))
            if torch.is_tensor(value) and value.shape == mask.shape
            else value
            for name, value in features.items()
        }

    def _prompt(self, kind: TextKind, configured: str | None) -> str:
        if configured is not None:
            return configured
        return next((prompt for name in _PROMPT_NAMES[kind] if (prompt := self._model.prompts.get(name))), "")


def _model(folder: Path, config: EmbeddingConfig) -> SentenceTransformer:
    model = SentenceTransformer(
        str(folder), device=config.device, local_files_only=True, model_kwargs={"dtype": dtype(config)}
    )
    return model.eval()


def dtype(config: EmbeddingConfig) -> torch.dtype:
    """What the model computes in. A CPU without bfloat16 instructions emulates them, many times slower than float32;
    OpenVINO is for float32 alone."""
    if config.dtype == "auto":
        if config.runtime == "openvino":
            return torch.float32
        fast = config.device == "cuda" or any(torch.cpu.get_capabilities().get(name) for name in _BFLOAT16)
        return torch.bfloat16 if fast else torch.float32
    named: torch.dtype = getattr(torch, config.dtype)
    return named

"""Token vectors of an encoder model, with as little start-up as possible.

Importing transformers' BERT costs some four seconds of CPU on top of torch's two, more than everything else that this
stage does at start-up; the bundled model needs six layers of plain BERT. So BERT is written out here (Devlin et al.
2019, with the post-layer-norm order of the original) and other architectures go through transformers' AutoModel.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

Encode = Callable[[Tensor, Tensor], Tensor]
"""Token ids and mask (True where there is a token), both (texts, tokens) → last hidden states (texts, tokens, size)."""


def load(folder: Path, device: str, dtype: torch.dtype) -> Encode:
    """The encoder in a local folder. Raises OSError, KeyError or ValueError if there is none that can be read."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    weights = folder / "model.safetensors"
    if weights.is_file() and _is_plain_bert(config):
        return _Bert(weights, config, device, dtype)
    return _auto_model(folder, device, dtype)


def _is_plain_bert(config: dict[str, object]) -> bool:
    return (
        config.get("architectures") == ["BertModel"]
        and config.get("position_embedding_type", "absolute") == "absolute"
        and config.get("hidden_act") == "gelu"
    )


class _Bert:
    def __init__(self, weights: Path, config: dict[str, int], device: str, dtype: torch.dtype) -> None:
        with safe_open(weights, framework="pt", device=device) as file:
            self._weights = {name: file.get_tensor(name) for name in file.keys() if "position_ids" not in name}  # noqa: SIM118
        self._weights = {name: tensor.to(dtype) for name, tensor in self._weights.items()}
        self._layers = config["num_hidden_layers"]
        self._heads = config["num_attention_heads"]
        self._epsilon = float(config["layer_norm_eps"])

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        tables = "embeddings.{}_embeddings.weight".format
        words = F.embedding(ids, self._weights[tables("word")])
        positions = self._weights[tables("position")][: ids.shape[1]]
        hidden = self._norm(words + positions + self._weights[tables("token_type")][0], "embeddings.LayerNorm")
        for layer in range(self._layers):
            hidden = self._layer(hidden, mask[:, None, None, :], f"encoder.layer.{layer}")
        return hidden

    def _layer(self, hidden: Tensor, mask: Tensor, at: str) -> Tensor:
        heads = (*hidden.shape[:2], self._heads, -1)
        query, key, value = (
            self._linear(hidden, f"{at}.attention.self.{part}").view(*heads).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
        attended = self._linear(attended, f"{at}.attention.output.dense")
        hidden = self._norm(hidden + attended, f"{at}.attention.output.LayerNorm")
        inner = F.gelu(self._linear(hidden, f"{at}.intermediate.dense"))
        return self._norm(hidden + self._linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")

    def _linear(self, hidden: Tensor, at: str) -> Tensor:
        return F.linear(hidden, self._weights[f"{at}.weight"], self._weights[f"{at}.bias"])

    def _norm(self, hidden: Tensor, at: str) -> Tensor:
        weight, bias = self._weights[f"{at}.weight"], self._weights[f"{at}.bias"]
        return F.layer_norm(hidden, hidden.shape[-1:], weight, bias, self._epsilon)


def _auto_model(folder: Path, device: str, dtype: torch.dtype) -> Encode:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=dtype, local_files_only=True).to(device).eval()

    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return hidden

    return encode

"""Token vectors of an encoder model, with a short start-up.

Importing transformers' BERT takes four seconds of CPU time, more than all else that this stage does at its start. The
bundled model needs only six layers of plain BERT. So BERT is written out here (Devlin et al. 2019, with the original's
order: layer norm last). Other architectures use transformers' AutoModel.
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
"""(token ids, mask that is True at tokens), both of shape (texts, tokens) → last hidden states, shape (texts, tokens,
size)."""


def load(folder: Path, device: str, dtype: torch.dtype) -> Encode:
    """The encoder in a local folder. Raises OSError, KeyError or ValueError if it cannot be read."""
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
    """Plain BERT, computed by hand from its weights."""

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

    def _layer(self, hidden: Tensor, mask: Tensor, name: str) -> Tensor:
        heads = (*hidden.shape[:2], self._heads, -1)
        query, key, value = (
            self._linear(hidden, f"{name}.attention.self.{part}").view(*heads).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
        attended = self._linear(attended, f"{name}.attention.output.dense")
        hidden = self._norm(hidden + attended, f"{name}.attention.output.LayerNorm")
        inner = F.gelu(self._linear(hidden, f"{name}.intermediate.dense"))
        return self._norm(hidden + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _linear(self, hidden: Tensor, name: str) -> Tensor:
        return F.linear(hidden, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, hidden: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return F.layer_norm(hidden, hidden.shape[-1:], weight, bias, self._epsilon)


def _auto_model(folder: Path, device: str, dtype: torch.dtype) -> Encode:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=dtype, local_files_only=True).to(device).eval()

    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return hidden

    return encode

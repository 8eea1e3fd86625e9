"""A whole run of grpo with the search tool, of a tiny model that searches and answers; killed, and gone on with.

Costs about 20 s: nothing less than two commands shows that a killed conversation training is resumed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.test_search_tool import corpus_file
from tests.tiny import CHATML, tiny_config, tiny_tokenizer

NEXT = {
    "\n": ("<search>", "<answer>"),
    "<search>": ("river",),
    "river": ("</search>",),
    "</search>": ("<|im_end|>",),
    "<answer>": ("yes", "no"),
    "yes": ("</answer>",),
    "no": ("</answer>",),
    "</answer>": ("<|im_end|>",),
}
"""Which words follow a word, each as likely as the other."""


def searcher(folder: Path) -> Path:
    """Save a model that searches for a river or answers yes or no, whatever it is asked, and return the folder."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_tokenizer(CHATML)
    tokenizer.add_tokens([word for word in NEXT if len(word) > 1])
    config = tiny_config(vocab_size=len(tokenizer), num_key_value_heads=4, max_position_embeddings=1024)
    model = AutoModelForCausalLM.from_config(config)
    places = {word: tokenizer.convert_tokens_to_ids("Ċ" if word == "\n" else word) for word in (*NEXT, "<|im_end|>")}
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.mul_(0.01)
        model.lm_head.weight.zero_()
        for place, (word, following) in enumerate(NEXT.items()):
            model.model.embed_tokens.weight[places[word]] = torch.eye(config.hidden_size)[place]
            for each in following:
                model.lm_head.weight[places[each], place] = 3.0
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def mirror(folder: Path) -> Path:
    """Write HotpotQA's and TriviaQA's rows as the mirror keeps them: all questions are answered with yes or no."""
    for name, rows in {
        "hotpotqa/hotpot_qa/distractor/train": [
            {"id": str(n), "question": f"Is river {n} longer than river {n + 1}?", "answer": ("yes", "no")[n % 2]}
            for n in range(30)
        ],
        "mandarjoshi/trivia_qa/rc.nocontext/validation": [
            {"question": f"Is it river {n}?", "answer": {"value": "yes", "aliases": []}} for n in range(8)
        ],
    }.items():
        file = folder / f"{name}.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


COMMAND = (
    "run --method grpo --domain qa --eval target:triviaqa --problems 8 --limit 4 --divergence-prompts 0 --no-rehearsal"
)
OPTIONS = (
    "qa.tool=search qa.turns=2 qa.results=1 grpo.batch_size=8 grpo.gradient_accumulation=1 grpo.generations=4 "
    "grpo.max_steps=4 grpo.save_steps=1 grpo.max_length=700 grpo.max_new_tokens=6 target.max_new_tokens=6"
)


def test_grpo_with_the_search_tool_is_killed_and_goes_on(tmp_path: Path) -> None:
    options = [*OPTIONS.split(), f"qa.corpus={corpus_file(tmp_path)}"]
    command = [sys.executable, "-m", "pfh_cli.main", *COMMAND.split(), "--model", str(searcher(tmp_path / "model"))]
    command += [part for option in options for part in ("-o", option)]
    command += ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "out")]
    environment = {**os.environ, "PFH_DATA_MIRROR": str(mirror(tmp_path / "mirror"))}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while first.poll() is None and not any((tmp_path / "store").rglob("checkpoint-2")):
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL, first.stderr.read()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    (stage,) = json.loads((tmp_path / "out" / "results.json").read_text())["stages"]
    assert stage["curves"][-1]["step"] == 4
    assert stage["ledger"][-1]["notes"]["attempts"] == 2
    assert 0 < max(row.get("reward", 0) for row in stage["curves"]) < 1
    assert any(row.get("turns", 1) > 1 for row in stage["curves"]), stage["curves"][0]

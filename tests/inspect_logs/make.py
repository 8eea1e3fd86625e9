"""Make the logs of this folder with Inspect itself (0.3.285), in an environment of its own that has inspect_ai.

The documents are this project's own and the model is Inspect's mock, so a log holds nothing of anybody else's.
"""

from pathlib import Path

import tiktoken


class Words:
    """Stands for a tokenizer that Inspect would download."""

    def encode(self, text, **settings):
        return text.split()

    encode_ordinary = encode


tiktoken.get_encoding = tiktoken.encoding_for_model = lambda name: Words()

from inspect_ai import Task, eval, task  # noqa: A004, E402
from inspect_ai.dataset import MemoryDataset, Sample  # noqa: E402
from inspect_ai.model import ModelOutput, get_model  # noqa: E402
from inspect_ai.scorer import choice, match  # noqa: E402
from inspect_ai.solver import generate, multiple_choice  # noqa: E402

FOLDER = Path(__file__).parent


@task
def sums():
    samples = [
        Sample(id=f"s{i}", input=f"{i}+1?", target=str(i + 1), metadata={"category": "odd" if i % 2 else "even"})
        for i in range(6)
    ]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=match(), version=2)


@task
def next_number():
    samples = [
        Sample(input=f"Which number is next after {i}?", choices=[str(i + 1), str(i + 2)], target="A") for i in range(4)
    ]
    return Task(dataset=MemoryDataset(samples), solver=multiple_choice(), scorer=choice(), epochs=2)


def log(name, asked, answers):
    outputs = [ModelOutput.from_content("mockllm/model", answer) for answer in answers]
    model = get_model("mockllm/model", custom_outputs=outputs, memoize=False)
    made = eval(asked, model=model, log_dir=str(FOLDER), display="none", max_connections=1, max_samples=1)
    Path(made[0].location.removeprefix("file://")).rename(FOLDER / f"{name}.eval")


if __name__ == "__main__":
    log("before", sums(), ["1", "2", "x", "4", "5", "6"])
    log("after", sums(), ["1", "x", "3", "4", "y", "6"])
    log("epochs", next_number(), ["ANSWER: A", "ANSWER: B", "ANSWER: A", "hm"] * 2)

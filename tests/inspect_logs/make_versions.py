"""Make versions.tar.xz with Inspect itself, a version after the other: VERSION-FORMAT/before/*, VERSION-FORMAT/after/*.

    python make_versions.py PYTHON...

Each PYTHON is the interpreter of an environment that has one version of inspect_ai; the one that runs this has the
newest. The documents are this project's own and the models are lists of replies, so that tests/test_versions.py can
count what is right without reading a log.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

FOLDER = Path(__file__).parent
DATE = re.compile(r"20\d\d-\d\d-\d\dT\d\d[-:]\d\d[-:]\d\d[^\"/_ ]*")
HOST = re.compile(r'"(location|origin|commit|cwd|pid|task_file|version_control)": ?("[^"]*"|\d+)')


def right(name: str, place: int) -> bool:
    """Say whether a model's reply to sum `place` is right."""
    return place % 4 != 1 if name == "before" else place % 3 != 0


def choices(name: str, place: int) -> list[bool]:
    """Say in which of its three epochs a model chooses right in document `place`."""
    return [place % 2 == 0, place != 3, place < 4] if name == "before" else [place % 2 == 1, place == 1, place < 2]


def main(pythons: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for python in pythons:
            subprocess.run([python, __file__, "--one", scratch], check=True)
        pack(Path(scratch))


def pack(scratch: Path) -> None:
    with tarfile.open(FOLDER / "versions.tar.xz", "w:xz") as archive:
        for file in sorted(each for each in scratch.rglob("*") if each.is_file()):
            content = plain(file)
            member = tarfile.TarInfo(DATE.sub("2026-01-01T00-00-00", file.relative_to(scratch).as_posix()))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def plain(file: Path) -> bytes:
    """Return a log without events, which pfh does not read, and without what tells of the machine."""
    if file.suffix != ".eval":
        return told(file.read_text())
    import zipfile_zstd  # noqa: F401 - teaches zipfile how newer versions pack

    packed = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(packed, "w") as new:
        for info in old.infolist():
            if info.filename.startswith(("samples/", "header.json", "reductions.json")):
                new.writestr(zipfile.ZipInfo(info.filename), told(old.read(info).decode()), info.compress_type)
    return packed.getvalue()


def told(text: str) -> bytes:
    found = json.loads(text)
    for sample in [found, *(found.get("samples") or [] if isinstance(found, dict) else [])]:
        if isinstance(sample, dict):
            for name in ("events", "transcript", "events_data", "attachments", "logging"):
                if name in sample:
                    sample[name] = {} if isinstance(sample[name], dict) else []
    text = json.dumps(found, indent=1)
    return DATE.sub("2026-01-01T00:00:00+00:00", HOST.sub(r'"\1": ""', text)).encode()


class Words:
    """Stands for a tokenizer."""

    def encode(self, text, **settings):
        return text.split()

    encode_ordinary = encode


def one(scratch: Path) -> None:
    """Log two models with the version of Inspect that this interpreter has."""
    if find_spec("tiktoken"):
        import tiktoken

        tiktoken.get_encoding = tiktoken.encoding_for_model = lambda name: Words()  # Inspect would download one

    import inspect_ai
    from inspect_ai import Epochs, Task, eval, task  # noqa: A004
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ModelOutput, get_model
    from inspect_ai.scorer import Score, accuracy, choice, match, mean, scorer
    from inspect_ai.solver import generate, multiple_choice

    solver = "solver" if "solver" in signature(Task).parameters else "plan"

    @scorer(metrics={"digits": [mean()], "right": [accuracy()]})
    def looks():
        async def score(state, target):
            text = state.output.completion
            return Score(value={"digits": len(text), "right": "C" if text == target.text else "I"})

        return score

    @task
    def sums():
        samples = [Sample(id=f"s{i}", input=f"{i} + 10 =", target=str(i + 10)) for i in range(8)]
        return Task(dataset=MemoryDataset(samples), scorer=[match(), looks()], version=2, **{solver: generate()})

    @task
    def next_number():
        samples = [
            Sample(input=f"Which number is next after {i}?", choices=[str(i + 1), str(i + 2)], target="A")
            for i in range(5)
        ]
        epochs = Epochs(3, ["mean", "mode"])
        solved = {solver: multiple_choice()}
        return Task(dataset=MemoryDataset(samples), scorer=choice(), epochs=epochs, **solved)

    version = inspect_ai.__version__
    for form in ("json", "eval"):
        for name in ("before", "after"):
            replies = [str(i + 10) if right(name, i) else "777" for i in range(8)]
            chosen = [f"ANSWER: {'A' if choices(name, i)[epoch] else 'B'}" for epoch in range(3) for i in range(5)]
            for asked, answers in ((sums(), replies), (next_number(), chosen)):
                outputs = [ModelOutput.from_content("mockllm/model", answer) for answer in answers]
                try:
                    model = get_model("mockllm/model", custom_outputs=outputs, memoize=False)
                except TypeError:
                    model = get_model("mockllm/model", custom_outputs=outputs)
                folder = scratch / f"{version}-{form}" / name
                settings = {"log_dir": str(folder), "max_connections": 1, "max_samples": 1}
                if int(version.split(".")[2]) >= 50:
                    settings |= {"log_format": form, "display": "none"}
                elif form == "eval":
                    continue
                made = eval(asked, model=model, **settings)
                assert made[0].status == "success", made[0].error


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(Path(sys.argv[2]))
    else:
        main(sys.argv[1:])

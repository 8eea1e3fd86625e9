"""Make the logs of this folder with lm-eval itself, one version after the other, from its own command line.

    python make.py FOLDER...

Each folder holds one version, as `pip install --no-deps --target FOLDER lm_eval==VERSION` leaves it; what lm-eval needs
comes from the environment of this script. The documents are this project's own and the model is a rule (`Fixed`), so
that tests/test_versions.py can count what is right without reading a log. Names of the machine, times and environments
are taken out, and all goes into logs.tar.xz: VERSION/before/..., VERSION/after/...
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent
KEPT = ("results", "groups", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples")
KEPT_TOO = ("config", "model_source", "model_name", "model_name_sanitized", "system_instruction", "chat_template")
KEPT_TOO += ("system_instruction_sha", "fewshot_as_multiturn", "chat_template_sha", "task_hashes", "eot_token_id")
KEPT_TOO += ("max_length", "lm_eval_version", "date", "samples")
DATE = re.compile(r"\d{4}-\d\d-\d\dT[\d.-]+\d")

NUMBERS = [{"q": f"{i} + 1 =", "choices": [str(i + 1), str(i + 3), "none of these"], "a": 0} for i in range(8)]
MORE = [{"q": f"{i} + 2 =", "choices": ["nothing", str(i + 2), str(i + 4)], "a": 1} for i in range(5)]
SUMS = [{"q": f"How much is {i} and {i}?", "a": str(2 * i)} for i in range(10)]
TEXTS = [{"text": text} for text in ("Rain fell on the hills.", "A cat sat.", "Two and two are four, they say.", "No.")]

TASKS = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {name}.jsonl}}}}
test_split: test
metadata: {{version: 2.0}}
"""
CHOICE = """
doc_to_text: "{{q}}"
doc_to_choice: choices
doc_to_target: a
output_type: multiple_choice
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}, {metric: acc_norm, aggregation: mean, higher_is_better: true}]
"""  # noqa: E501
WRITTEN = """
doc_to_text: "{{q}}"
doc_to_target: a
output_type: generate_until
generation_kwargs: {until: ["Q:"], do_sample: false, temperature: 0.0}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - {name: strict-match, filter: [{function: regex, regex_pattern: "#### (\\\\d+)"}, {function: take_first}]}
  - {name: flexible-extract, filter: [{function: regex, regex_pattern: "(\\\\d+)$"}, {function: take_first}]}
"""
ROLLING = """
doc_to_text: ""
doc_to_target: "{{text}}"
output_type: loglikelihood_rolling
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
"""
GROUP = """
group: counting
task: [numbers, more_numbers]
"""
FIGURE = """
aggregate_metric_list: [{metric: acc, aggregation: mean, weight_by_size: true}]
metadata: {version: 1.0}
"""


def right(name: str, place: int) -> bool:
    """Say whether a model chooses the right option of document `place`: this is all that it knows."""
    return place % 4 != 1 if name == "before" else place % 3 != 0


def reply(name: str, place: int) -> str:
    """Return what a model writes on sum `place`: the answer, now and then in another form, or another number."""
    number = 2 * place if (place % 5 != 2 if name == "before" else place % 2 == 0) else 777
    return f"so {number}" if place % (4 if name == "before" else 3) == 1 else f"so #### {number}"


def likelihood(name: str, text: str) -> float:
    """Return the log-likelihood of a text: so much a character."""
    return -len(text) * (0.5 if name == "before" else 0.75)


def main(folders: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for folder in map(Path, folders):
            for name in ("before", "after"):
                environment = os.environ | {"PYTHONPATH": str(folder.resolve()), "HF_HOME": scratch}
                command = [sys.executable, __file__, "--one", str(Path(scratch, folder.name)), name]
                subprocess.run(command, check=True, env=environment)
            print(folder.name, flush=True)
        pack(Path(scratch), [Path(folder).name for folder in folders])


def one(scratch: Path, name: str) -> None:
    """Run the version of lm-eval that can be imported, and leave its log in `scratch`/`name`."""
    import transformers

    type(transformers).AutoModelForVision2Seq = None  # older versions of lm-eval name what it no longer has
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model

    class Fixed(LM):
        def __init__(self, pretrained: str, **other: object) -> None:
            super().__init__()
            self.name = pretrained

        @classmethod
        def create_from_arg_string(cls, arguments, other=None):
            return cls(dict(part.split("=") for part in arguments.split(","))["pretrained"])

        @classmethod
        def create_from_arg_obj(cls, arguments, other=None):
            return cls(arguments["pretrained"])

        def loglikelihood(self, requests):
            return [self._choice(*request.args) for request in requests]

        def _choice(self, context, option):
            place = int(context.split(" ")[0])
            gold = str(place + 1) if context.endswith("+ 1 =") else str(place + 2)
            chosen = gold if right(self.name, place) else "nothing" if gold == str(place + 2) else "none of these"
            return (-1.0 if option.strip() == chosen else -20.0 - len(option), False)

        def loglikelihood_rolling(self, requests):
            return [likelihood(self.name, request.args[0]) for request in requests]

        def generate_until(self, requests):
            return [reply(self.name, int(request.args[0].split(" ")[3])) for request in requests]

    register_model("fixed")(Fixed)
    work = scratch / "work"
    work.mkdir(parents=True, exist_ok=True)
    os.chdir(work)
    forms = {"numbers": (NUMBERS, CHOICE), "more_numbers": (MORE, CHOICE), "sums": (SUMS, WRITTEN)}
    for task, (documents, form) in (forms | {"texts": (TEXTS, ROLLING)}).items():
        Path(f"{task}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents))
        Path(f"{task}.yaml").write_text(TASKS.format(name=task) + form)
    Path("counting.yaml").write_text(GROUP + (FIGURE if find_spec("lm_eval.api.group") else ""))
    sys.argv = ["lm_eval", "--model", "fixed", "--model_args", f"pretrained={name}", "--tasks", "counting,sums,texts"]
    sys.argv += ["--include_path", ".", "--output_path", f"../{name}", "--log_samples"]
    cli_evaluate()


def pack(scratch: Path, versions: list[str]) -> None:
    with tarfile.open(FOLDER / "logs.tar.xz", "w:xz") as archive:
        for version in versions:
            for name in ("before", "after"):
                for file in sorted((scratch / version / name).rglob("*.json*")):
                    content = plain(file).encode()
                    inside = file.relative_to(scratch).as_posix()
                    member = tarfile.TarInfo(DATE.sub("2026-01-01T00-00-00.000000", inside))
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


def plain(file: Path) -> str:
    """Return a file of a log without what tells of the machine or the time."""
    text = file.read_text()
    if file.suffix == ".json" and "results" in file.name:
        found = json.loads(text)
        text = json.dumps({name: found[name] for name in found if name in KEPT + KEPT_TOO} | {"date": 0}, indent=2)
    return text


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(Path(sys.argv[2]).resolve(), sys.argv[3])
    else:
        main(sys.argv[1:])

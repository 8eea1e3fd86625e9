"""The packages in examples/, installed as any third party is, listed, checked and run, with the core untouched."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = [ROOT / "examples" / "pfh-orpo", ROOT / "examples" / "pfh-brevity"]
RUN = (
    *("run", "--method", "orpo", "--eval", "brevity", "--domain", "concise"),
    *("-o", "samples=4", "-o", "max_steps=2", "-o", "concise.words=2,4,8", "-o", "brevity.max_new_tokens=16"),
    *("--problems", "8", "--limit", "4", "--seed", "0", "--json"),
)


class Environment:
    """A Python environment of its own, into which pip has installed pfh and the examples."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        self._folder = folder.parent

    def __call__(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment, away from the repository."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PFH_"))}
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]], cwd=self._folder, env=kept, capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Build the environment: only the dependencies come from the developer's."""
    folder = tmp_path_factory.mktemp("third-party") / "venv"
    venv.create(folder, with_pip=True)
    here = sysconfig.get_paths()
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (site / "dependencies.pth").write_text("\n".join(dict.fromkeys([here["purelib"], here["platlib"]])) + "\n")
    created = Environment(folder)
    pip = created(
        *("python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"),
        *map(str, [ROOT, *EXAMPLES]),
    )
    assert pip.returncode == 0, pip.stderr
    return created


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store that the runs of this file share."""
    return tmp_path_factory.mktemp("store")


@pytest.mark.install
def test_both_packages_are_listed_from_their_metadata(environment: Environment) -> None:
    listed = environment("pfh", "list-plugins", "--json")

    rows = {(row["kind"], row["name"]): row for row in json.loads(listed.stdout)}
    assert rows["methods", "orpo"]["distribution"] == "pfh-orpo"
    assert rows["evals", "brevity"]["distribution"] == "pfh-brevity"
    assert rows["domains", "concise"]["distribution"] == "pfh-brevity"
    assert rows["methods", "orpo"]["summary"].startswith("ORPO on verified pairs")
    assert rows["methods", "dpo"]["distribution"] == "pfh"


@pytest.mark.install
def test_both_packages_pass_the_check(environment: Environment) -> None:
    checked = environment("pfh", "list-plugins", "--check", "--json")

    rows = {(row["kind"], row["name"]): row["status"] for row in json.loads(checked.stdout)}
    assert rows["methods", "orpo"] == rows["evals", "brevity"] == rows["domains", "concise"] == "ok"


@pytest.mark.install
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_each_package_passes_its_own_tests(environment: Environment, example: Path) -> None:
    tested = environment("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(example))

    assert tested.returncode == 0, tested.stdout


@pytest.mark.install
def test_a_foreign_method_domain_and_family_run_end_to_end_and_resume(
    environment: Environment, tiny_llama_path: Path, store: Path, tmp_path: Path
) -> None:
    places = ("--model", str(tiny_llama_path), "--output", str(tmp_path / "out"), "--store", str(store))

    first = environment("pfh", *RUN, *places)
    assert first.returncode == 0, first.stderr
    again = environment("pfh", *RUN, *places)

    stage = json.loads(first.stdout)["stages"][0]
    rows = {row["benchmark"]: row for row in stage["families"][0]["comparisons"]}
    assert stage["method"] == "orpo"
    assert [phase["name"] for phase in stage["ledger"]] == ["rollouts", "training"]
    assert stage["ledger"][-1]["updates"] == 2
    assert {name: row["status"] for name, row in rows.items()} == {
        "one-word": "MEASURED",
        "word-count": "MEASURED",
        "json-list": "MEASURED",
        "length": "NOT_RUN",
    }
    assert rows["one-word"]["n"] == 4
    assert (tmp_path / "out" / "report.html").stat().st_size > 0
    assert json.loads(again.stdout)["stages"] == json.loads(first.stdout)["stages"]
    assert "reusing the stored orpo training" in again.stderr


@pytest.mark.install
def test_a_benchmark_asked_for_by_name_that_cannot_run_is_the_users_to_mend(
    environment: Environment, tiny_llama_path: Path, store: Path, tmp_path: Path
) -> None:
    command = ["brevity:length" if word == "brevity" else word for word in RUN]
    places = ("--model", str(tiny_llama_path), "--output", str(tmp_path / "out"), "--store", str(store))

    done = environment("pfh", *command, *places)

    assert done.returncode == 2
    assert (
        "HuggingFaceH4/mt_bench_prompts"
        in json.loads(done.stdout)["stages"][0]["families"][0]["comparisons"][0]["reason"]
    )


def test_brevity_asks_the_questions_of_a_public_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.environ.get("PFH_DATA_MIRROR"):
        pytest.skip("PFH_DATA_MIRROR is not set")
    from pfh import testing as fakes
    from pfh.sources.datasets import HubData

    monkeypatch.syspath_prepend(str(EXAMPLES[1] / "src"))
    pfh_brevity = pytest.importorskip("pfh_brevity")
    spec = fakes.evaluation_spec(["a short answer"], options=pfh_brevity.Options())

    (length,) = pfh_brevity.evaluate(dataclasses.replace(spec, benchmarks=("length",), data=HubData())).benchmarks

    assert length.status == "MEASURED"
    assert {sample.score for sample in length.samples} == {3.0}
    assert len({sample.category for sample in length.samples}) == 8


def test_orpo_computes_the_loss_of_the_paper(
    tiny_llama_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from pfh import testing as fakes
    from pfh.hooks.checkpoint import Checkpoint
    from pfh.kit.tokens.chat_templates import render
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.syspath_prepend(str(EXAMPLES[0] / "src"))
    pfh_orpo = pytest.importorskip("pfh_orpo")
    checkpoint = Checkpoint(name="tiny", path=tiny_llama_path, fingerprint="tiny")
    options = pfh_orpo.Options(samples=2, max_steps=1, beta=0.3)
    spec = fakes.training_spec(tmp_path, options=options, checkpoint=checkpoint, problems=1)
    correct, incorrect = spec.rollouts(samples=2)
    texts = {"chosen": correct.completion, "rejected": incorrect.completion}

    result = pfh_orpo.train(spec)

    model, tokenizer = (kind.from_pretrained(tiny_llama_path) for kind in (AutoModelForCausalLM, AutoTokenizer))
    prompt = tokenizer(render(tokenizer, spec.problems[0].messages), add_special_tokens=False)["input_ids"]
    mean, whole, tokens = {}, {}, 0
    for name, text in texts.items():
        ids = [*prompt, *tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            scores = torch.log_softmax(model(torch.tensor([ids])).logits[0, :-1], dim=-1)
        logprobs = scores[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
        mean[name], whole[name] = logprobs[len(prompt) - 1 :].mean(), logprobs.mean()
        tokens += len(ids)
    odds = {name: value - torch.log1p(-torch.exp(value)) for name, value in mean.items()}
    expected = -whole["chosen"] - 0.3 * torch.nn.functional.logsigmoid(odds["chosen"] - odds["rejected"])
    assert result.curves[0]["loss"] == pytest.approx(float(expected), rel=1e-4)
    assert result.phases[-1].tokens == tokens
    assert (result.path / "adapter_model.safetensors").is_file()

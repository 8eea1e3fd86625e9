"""The hooks of pfh. A plugin is a module that implements some of them under an entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydantic import BaseModel

    from pfh.hooks.attacks import AttackResult, AttackSpec
    from pfh.hooks.backends import BackendSpec, Engine, EngineSpec
    from pfh.hooks.domains import Domain, DomainSpec, Generation, GenerationSpec
    from pfh.hooks.evals import Analysis, AnalysisSpec, CategorySpec, EvaluationSpec, PlanSpec
    from pfh.hooks.evaluation import Evaluation
    from pfh.hooks.judges import Judge, JudgeSpec
    from pfh.hooks.launchers import LaunchResult, LaunchSpec, SubmittedSpec, SubmittedTask
    from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
    from pfh.hooks.readers import Log, LogSpec, WriteSpec
    from pfh.hooks.tables import Table

hookspec = HookspecMarker("pfh")
hookimpl = HookimplMarker("pfh")


@hookspec(firstresult=True)
def options() -> type[BaseModel] | None:
    """Name the pydantic model whose fields `-o key=value` fills; an unknown key is an error.

    Any kind of plugin may have one. Without it the plugin takes no options.

    Example:
        >>> from pydantic import BaseModel, Field
        >>> from pfh import hookimpl
        >>> class Options(BaseModel):
        ...     beta: float = Field(0.1, gt=0, description="strength of the pull towards the reference")
        >>> @hookimpl
        ... def options():
        ...     return Options
        >>> options()(beta="0.2").beta
        0.2
    """


@hookspec(firstresult=True)
def train(spec: TrainingSpec) -> TrainingResult | None:
    """Post-train `spec.checkpoint` and leave the result under `spec.output_dir` (group `pfh.methods`).

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.hooks.ledger import Phase
        >>> from pfh.hooks.methods import TrainingResult
        >>> @hookimpl
        ... def train(spec):
        ...     rollouts = spec.rollouts(samples=4)
        ...     weights = spec.output_dir / "adapter"
        ...     weights.mkdir()
        ...     phase = Phase(name="training", seconds=0.0, samples=len(rollouts))
        ...     return TrainingResult(path=weights, phases=(phase,))
        >>> train(fakes.training_spec()).phases[0].samples
        8
    """


@hookspec
def check(spec: StageSpec) -> None:
    """Check that `train` can train a stage, before anything is measured (group `pfh.methods`).

    Raise a `UserError` that says what to change. Without it `train` says so when its turn comes, after the start was
    measured. Layers for an adapter and a budget of less than one update are looked at by the core.

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.errors import UserError
        >>> @hookimpl
        ... def check(spec):
        ...     if len(spec.problems) < 4:
        ...         raise UserError(f"4 problems make an update and there are {len(spec.problems)}: give more.")
        >>> check(fakes.training_spec(problems=2))
        Traceback (most recent call last):
        pfh.errors.UserError: 4 problems make an update and there are 2: give more.
    """


@hookspec(firstresult=True)
def draws(spec: StageSpec) -> Sequence[Draw] | None:
    """Name the rollouts that `train` will ask for, so that a study draws them once for all (group `pfh.methods`).

    A method without it may draw, as far as a plan knows; one that draws nothing returns nothing in it: `()`.

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.hooks.methods import Draw
        >>> @hookimpl
        ... def draws(spec):
        ...     return (Draw(samples=8),)
        >>> draws(None)[0].samples
        8
    """


@hookspec(firstresult=True)
def open_domain(spec: DomainSpec) -> Domain | None:
    """Return the domain: its problems and its verifier (group `pfh.domains`).

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.hooks.domains import Problem, Verdict
        >>> from pfh.hooks.backends import Sampling
        >>> class Echo:
        ...     name, version, sampling = "echo", "1", Sampling(max_new_tokens=4)
        ...     holdouts = ("numbers",)
        ...     def problems(self, split, count, seed):
        ...         chats = [({"role": "user", "content": f"Say {i}."},) for i in range(count)]
        ...         return tuple(
        ...             Problem(id=f"{split}-{i}", environment="echo", answer=str(i), messages=chat)
        ...             for i, chat in enumerate(chats))
        ...     def holdout(self, name):
        ...         return self.problems("test", 10, seed=0)
        ...     def verify(self, problem, completion):
        ...         return Verdict(reward=float(completion.strip() == problem.answer), extracted=completion or None)
        >>> @hookimpl
        ... def open_domain(spec):
        ...     return Echo()
        >>> domain = open_domain(None)
        >>> domain.verify(domain.problems("train", 3, seed=0)[2], "2").reward
        1.0
    """


@hookspec(firstresult=True)
def generate(spec: GenerationSpec) -> Generation | None:
    """Roll a model out on a domain's problems and reward every completion (group `pfh.domains`).

    A domain without it is rolled out by the core: single-turn (`pfh.kit.rollouts.single_turn`), or in turns where the
    domain answers what the model writes (`pfh.hooks.domains.Converses`, `pfh.kit.conversations.multi_turn`).

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.kit.rollouts import single_turn
        >>> @hookimpl
        ... def generate(spec):
        ...     return single_turn(spec)
        >>> len(generate(fakes.generation_spec(problems=2, samples=3)).rollouts)
        6
    """


@hookspec(firstresult=True)
def evaluate(spec: EvaluationSpec) -> Evaluation | None:
    """Put a family's benchmarks to `spec.engine` (group `pfh.evals`).

    A benchmark that cannot run is returned with status NOT_RUN and the reason, never left out and never scored 0.

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.hooks.backends import GenerationRequest, Sampling
        >>> from pfh.hooks.evaluation import Benchmark, Evaluation
        >>> from pfh.hooks.samples import Sample, sample_id
        >>> @hookimpl
        ... def evaluate(spec):
        ...     chat = ({"role": "user", "content": "Reply with one word."},)
        ...     completion = spec.engine.generate([GenerationRequest(id="0", messages=chat)], Sampling())[0]
        ...     sample = Sample(
        ...         id=sample_id("one-word", "1", {"prompt": chat[0]["content"]}), benchmark="one-word",
        ...         prompt=chat[0]["content"], completion=completion.text,
        ...         score=float(len(completion.text.split()) == 1))
        ...     return Evaluation(family="brevity", benchmarks=(Benchmark(
        ...         name="one-word", version="1", metric="adherence", higher_is_better=True, samples=(sample,)),))
        >>> evaluate(fakes.evaluation_spec(answers=["Yes"])).benchmarks[0].samples[0].score
        1.0
    """


@hookspec(firstresult=True)
def plan(spec: PlanSpec) -> Table | None:
    """Say what `evaluate` would put to a model, and how much of it, for `--dry-run` (group `pfh.evals`).

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.hooks.evals import PlanSpec
        >>> from pfh.hooks.tables import Table
        >>> @hookimpl
        ... def plan(spec):
        ...     held = 20 if spec.limit is None else min(spec.limit, 20)
        ...     return Table(title="Would be asked", columns=("benchmark", "requests"), rows=(("one-word", held),))
        >>> plan(PlanSpec(options=None, data=fakes.NoData(), limit=8)).rows
        (('one-word', 8),)
    """


@hookspec(firstresult=True)
def analyze(spec: AnalysisSpec) -> Analysis | None:
    """Say more about a family before and after than the paired figures that the core computes (group `pfh.evals`).

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.hooks.evals import Analysis
        >>> @hookimpl
        ... def analyze(spec):
        ...     worse = [row.benchmark for row in spec.comparisons if row.verdict == "worse"]
        ...     return Analysis(findings=(f"{len(worse)} benchmarks fell.",))
        >>> analyze(fakes.analysis_spec()).findings
        ('1 benchmarks fell.',)
    """


@hookspec(firstresult=True)
def category(spec: CategorySpec) -> str | None:
    """Say what a benchmark of the family measures, such as "knowledge" (group `pfh.evals`).

    In a study's overall figure of the family, benchmarks count equally within a category, and categories equally. It is
    asked of stored evaluations too, also of kin of a benchmark such as "mmlu_anatomy"; without it all count equally.

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.hooks.evals import CategorySpec
        >>> @hookimpl
        ... def category(spec):
        ...     return "mathematics" if "arithmetic" in spec.benchmark else "knowledge"
        >>> category(CategorySpec(benchmark="one-digit-arithmetic"))
        'mathematics'
    """


@hookspec(firstresult=True)
def open_engine(spec: EngineSpec) -> Engine | None:
    """Make a model resident and return the engine over it (group `pfh.backends`).

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.testing import FakeEngine
        >>> @hookimpl
        ... def open_engine(spec):
        ...     return FakeEngine(checkpoint=spec.checkpoint)
        >>> open_engine(fakes.engine_spec()).count_tokens("three little words")
        3
    """


@hookspec(firstresult=True)
def answers_through(spec: BackendSpec) -> Sequence[str] | None:
    """Name the backends whose engines this backend answers with: their code decides its figures (group `pfh.backends`).

    A backend that answers by itself needs none.

    Example:
        >>> from pfh import hookimpl
        >>> @hookimpl
        ... def answers_through(spec):
        ...     return ("fast", "exact")
        >>> answers_through(None)
        ('fast', 'exact')
    """


@hookspec(firstresult=True)
def open_judge(spec: JudgeSpec) -> Judge | None:
    """Return a judge of completions (group `pfh.judges`).

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.hooks.judges import Judgement
        >>> class Apology:
        ...     name = "apology 1"
        ...     def label(self, prompts, completions):
        ...         labels = ("refused" if "sorry" in text.lower() else "complied" for text in completions)
        ...         return [Judgement(label=label) for label in labels]
        >>> @hookimpl
        ... def open_judge(spec):
        ...     return Apology()
        >>> open_judge(None).label(["Help me."], ["I am sorry, no."])[0].label
        'refused'
    """


@hookspec(firstresult=True)
def attack(spec: AttackSpec) -> AttackResult | None:
    """Try to make a model do what it refuses, and return what was sent and answered (group `pfh.attacks`).

    The family that asks for it judges the completions; raise a `UserError` for a backend that cannot.

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.hooks.attacks import Attempt, AttackResult, Outcome
        >>> from pfh.hooks.backends import GenerationRequest, Sampling
        >>> @hookimpl
        ... def attack(spec):
        ...     chat = ({"role": "user", "content": f"Please. {spec.behaviours[0].prompt}"},)
        ...     done = spec.engine.generate([GenerationRequest(id="0", messages=chat)], Sampling())[0]
        ...     tries = (Attempt(messages=chat, completion=done.text),)
        ...     return AttackResult(outcomes=(Outcome(id=spec.behaviours[0].id, attempts=tries),))
        >>> attack(fakes.attack_spec(["No."])).outcomes[0].attempts[0].completion
        'No.'
    """


@hookspec(firstresult=True)
def read_log(spec: LogSpec) -> Log | None:
    """Read the log of another tool, or return None for files of any other form (group `pfh.readers`).

    Every installed reader is asked where the user does not say which it is, so None comes quickly, and only what the
    tool in question writes is taken. A line that cannot be read is left out and told in the notes; a log of which
    nothing can be read is a `UserError`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pfh import hookimpl
        >>> from pfh.hooks.evaluation import Benchmark, Evaluation
        >>> from pfh.hooks.readers import Log, LogSpec
        >>> from pfh.hooks.samples import Sample
        >>> @hookimpl
        ... def read_log(spec):
        ...     if spec.path.suffix != ".marks":
        ...         return None
        ...     samples = tuple(
        ...         Sample(id=name, benchmark="exam", prompt="", completion="", score=float(mark))
        ...         for name, mark in map(str.split, spec.path.read_text().splitlines()))
        ...     exam = Benchmark(name="exam", version="1", metric="marks", higher_is_better=True, samples=samples)
        ...     evaluation = Evaluation(family="marks", benchmarks=(exam,))
        ...     return Log(model=spec.path.stem, evaluations=(evaluation,), settings={})
        >>> path = Path(tempfile.mkdtemp()) / "ann.marks"
        >>> _ = path.write_text("first 1\\nsecond 0\\n")
        >>> read_log(LogSpec(path=path, files=(path,))).evaluations[0].benchmarks[0].samples[0].score
        1.0
    """


@hookspec(firstresult=True)
def write_log(spec: WriteSpec) -> Path | None:
    """Write evaluations as the reader's tool writes its logs, and return the folder (group `pfh.readers`).

    A reader without it cannot be exported to.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pfh import hookimpl
        >>> from pfh.hooks.readers import WriteSpec
        >>> @hookimpl
        ... def write_log(spec):
        ...     samples = [s for e in spec.evaluations for b in e.benchmarks for s in b.samples]
        ...     file = spec.folder / f"{spec.model}.marks"
        ...     file.write_text("".join(f"{sample.id} {sample.score}\\n" for sample in samples))
        ...     return file
        >>> write_log(WriteSpec(folder=Path(tempfile.mkdtemp()), model="ann", evaluations=(), settings={})).name
        'ann.marks'
    """


@hookspec(firstresult=True)
def launch(spec: LaunchSpec) -> LaunchResult | None:
    """Execute runs somewhere: in this process, on a cluster (group `pfh.launchers`).

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.hooks.launchers import LaunchResult, LaunchSpec
        >>> @hookimpl
        ... def launch(spec):
        ...     return LaunchResult(outcomes=tuple(spec.execute(run) for run in spec.runs))
        >>> launch(LaunchSpec(runs=(1, 2), execute=lambda run: run + 1)).outcomes
        (2, 3)
    """


@hookspec(firstresult=True)
def submitted_tasks(spec: SubmittedSpec) -> Sequence[SubmittedTask] | None:
    """Return the tasks of a study that a cluster has and that have not ended (group `pfh.launchers`).

    A launcher that ends with the state "submitted" has it: what is queued is not submitted again, and `pfh status`
    shows it. It asks the cluster and no file, so that it is right after a kill.

    Example:
        >>> from pfh import hookimpl
        >>> from pfh.hooks.launchers import SubmittedTask
        >>> @hookimpl
        ... def submitted_tasks(spec):
        ...     return (SubmittedTask(id="training-1", job="42", state="running"),)
        >>> submitted_tasks(fakes.submitted_spec())[0].job
        '42'
    """


@hookspec(firstresult=True)
def cancel_tasks(spec: SubmittedSpec) -> Sequence[SubmittedTask] | None:
    """End the tasks of a study that a cluster has, and return them (group `pfh.launchers`).

    Example:
        >>> from pfh import hookimpl
        >>> @hookimpl
        ... def cancel_tasks(spec):
        ...     return ()
        >>> cancel_tasks(fakes.submitted_spec())
        ()
    """

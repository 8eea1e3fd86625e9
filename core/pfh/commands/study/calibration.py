"""What a study does, timed on this device for a little of it: what plans count by where no ledger tells.

Every start's model reads, writes and is trained on a few batches, and is asked the first documents of every benchmark
of the study, few and then more, so that what a document takes is told from what a benchmark takes however few it has.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pfh.commands.measuring import asked, open_domain
from pfh.commands.requests import validate
from pfh.commands.subjects import model_subject
from pfh.errors import PfhError, UserError
from pfh.hooks.backends import GenerationRequest, Sampling, ScoringRequest
from pfh.hooks.meanings import Wants, declares
from pfh.progress import Progress, Silent
from pfh.registry.plugins import Plugins
from pfh.sources.models import resolve
from pfh.starts.embedded import EMBEDDED_NAME
from pfh.steps.evaluation import Question, documents_of, evaluate_family
from pfh.steps.session import Session
from pfh.steps.starts import embedded_start
from pfh.store.store import Store
from pfh.text import write_whole

if TYPE_CHECKING:
    from pfh.commands.study.runs import StudyRun
    from pfh.commands.study.schema import StartEntry, Study
    from pfh.hooks.backends import Engine
    from pfh.hooks.checkpoint import Checkpoint
    from pfh.hooks.launchers import RunSpec
    from pfh.steps.domains import OpenDomain

FILE = "speeds.json"
FEW, MORE = 1, 4
"""Documents of each benchmark that are asked at first, and then."""
WORDS, ASKED, BATCH, NEW_TOKENS, TRAINED = 384, 8, 32, 32, 2
"""Words of a prompt that is read; prompts that are read; prompts that are continued at once; tokens that each is
continued by; sequences of an update."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long a family takes to ask so many documents."""

    fixed: float
    """Seconds, however few they are."""
    each: float
    """Seconds a document."""
    sizes: tuple[int, ...]
    """Documents of each benchmark, without a limit."""

    def seconds(self, limit: int | None) -> float:
        """Return what all benchmarks take within a limit."""
        return self.fixed + self.each * sum(min(size, limit or size) for size in self.sizes)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Seconds a token of one model on one device."""

    read: float
    written: float
    """Of a batch of completions together."""
    trained: float
    weights: float
    """Of the model: of one of another size a token takes in proportion."""
    documents: Mapping[str, Pace] = field(default_factory=dict)
    """What is asked (`asked_as`) to how long it takes."""
    lengths: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Domain to the tokens of a prompt and of a completion, on average over a few problems."""


def asked_as(about: Mapping[str, Any]) -> str:
    """Return the name of what an evaluation asks: the family, its benchmarks, and the domain whose problems it puts."""
    domain = f" of {about['domain']}" if about.get("domain") else ""
    return " ".join([str(about.get("family", "")), *sorted(map(str, about.get("benchmarks", ())))]) + domain


def calibrate(
    study: Study, runs: Sequence[StudyRun], *, plugins: Plugins, store: Store, progress: Progress
) -> dict[str, Rates]:
    """Time the study's starts that are on this machine, remember what it took, and return it by model.

    Asked are the documents and problems of the first of `runs` in each domain that begins with the model.

    Raises:
        UserError: none of them is here.
    """
    session = Session(plugins=plugins, store=store, progress=progress, backend=study.backend, dtype=study.dtype)
    found: dict[str, Rates] = {}
    missing: list[str] = []
    for name, entry in _models(study):
        try:
            checkpoint = _checkpoint(entry, session)
        except UserError as error:
            missing.append(f"{name} ({error})")
            continue
        progress.say(f"timing a few batches of {name}")
        rates = _timed(checkpoint, session)
        specs = {run.spec.domain: run.spec for run in reversed(runs) if (run.spec.model or EMBEDDED_NAME) == name}
        paces: dict[str, Pace] = {}
        lengths: dict[str, tuple[float, float]] = {}
        with TemporaryDirectory(prefix="pfh-calibration-") as folder:
            for spec in specs.values():
                _ask(checkpoint, spec, session, Store(Path(folder)), paces, lengths)
        found[name] = dataclasses.replace(rates, documents=paces, lengths=lengths)
    if not found:
        raise UserError(f"--calibrate times models on this machine, and has none: {'; '.join(missing)}")
    for line in missing:
        progress.say(f"not timed: {line}")
    known = _all(store)
    device = device_name()
    known[device] = known.get(device, {}) | found
    told = {kind: {name: asdict(rates) for name, rates in models.items()} for kind, models in known.items()}
    write_whole(store.cache / FILE, json.dumps(told, indent=1))
    return found


def remembered(store: Store) -> Mapping[str, Rates]:
    """Return what was timed on a device of this kind, by model."""
    return _all(store).get(device_name(), {})


def device_name() -> str:
    """Return what torch calls this machine's device; cpu without an accelerator."""
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "cpu"


def _all(store: Store) -> dict[str, dict[str, Rates]]:
    """Return everything that was timed; nothing where the file is not there, or is none that this pfh wrote."""
    try:
        told = json.loads((store.cache / FILE).read_text(encoding="utf-8"))
        return {
            str(kind): {str(name): _rates(**rates) for name, rates in models.items()} for kind, models in told.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _rates(
    *, documents: Mapping[str, Any] | None = None, lengths: Mapping[str, Any] | None = None, **rates: float
) -> Rates:
    """Return what `speeds.json` has of a model."""
    paces = {
        name: Pace(fixed=pace["fixed"], each=pace["each"], sizes=tuple(pace["sizes"]))
        for name, pace in (documents or {}).items()
    }
    read = {name: (prompt, completion) for name, (prompt, completion) in (lengths or {}).items()}
    return Rates(documents=paces, lengths=read, **rates)


def _models(study: Study) -> Iterator[tuple[str, StartEntry]]:
    """Yield every model of the starts once."""
    seen: set[str] = set()
    for entry in study.starts:
        name = entry.model or EMBEDDED_NAME
        if name not in seen:
            seen.add(name)
            yield name, entry


def _checkpoint(entry: StartEntry, session: Session) -> Checkpoint:
    if entry.model in (None, "base", "safe"):
        return embedded_start(session)
    cache = session.store.cache
    return resolve(str(entry.model), revision=entry.revision, allow_pickle=entry.allow_pickle, cache_dir=cache)


def _timed(checkpoint: Checkpoint, session: Session) -> Rates:
    engine = session.engine(checkpoint)
    text = " ".join(f"{number}" for number in range(WORDS))
    try:
        read = _read(engine, text)
        written = _written(engine)
    finally:
        session.release()
    trained, weights = _trained(checkpoint, text)
    return Rates(read=read, written=written, trained=trained, weights=weights)


def _ask(
    checkpoint: Checkpoint,
    spec: RunSpec,
    session: Session,
    store: Store,
    paces: dict[str, Pace],
    lengths: dict[str, tuple[float, float]],
) -> None:
    """Ask a few documents of what a run asks, and some of its problems; say what cannot be asked here."""
    options = validate(spec, session.plugins)
    scratch = Session(
        plugins=session.plugins,
        store=store,
        progress=Silent(),
        backend=spec.backend,
        dtype=spec.dtype,
        options=options,
    )
    domain, wanted = None, spec.evals
    try:
        try:
            domain = open_domain(spec, scratch, options, ASKED)
            lengths[spec.domain] = _lengths(domain, scratch.engine(checkpoint))
        except PfhError as error:
            session.progress.say(f"not read: problems of {spec.domain} ({error})")
            wanted = tuple(one for one in wanted if not declares(options.get(f"evals:{one.family}"), Wants.DOMAIN))
        subject = model_subject(checkpoint.name, checkpoint, "")
        questions = (
            asked(dataclasses.replace(spec, evals=wanted), scratch, [subject], options, domain) if wanted else ()
        )
        for question in questions:
            put = question.domain.name if question.domain else ""
            name = asked_as({"family": question.family, "benchmarks": question.benchmarks, "domain": put})
            if name in paces:
                continue
            try:
                paces[name] = _pace(checkpoint, question, scratch)
            except PfhError as error:
                session.progress.say(f"not timed: {question.family} ({error})")
    finally:
        scratch.release()


def _pace(checkpoint: Checkpoint, question: Question, session: Session) -> Pace:
    """Ask few documents, and then more.

    Raises:
        UserError: the family does not tell how many documents there are.
    """
    whole = documents_of(dataclasses.replace(question, limit=None), session)
    if not whole:
        raise UserError("it does not tell how many documents it asks")
    took, documents = [], []
    for place, limit in enumerate((FEW, FEW, MORE)):  # the first loads the model and the data
        began = time.perf_counter()
        sample = dataclasses.replace(question, limit=limit, seed=question.seed + place)
        evaluation = evaluate_family(session, checkpoint, sample)[1]
        took.append(time.perf_counter() - began)
        documents.append(sum(len(each.samples) for each in evaluation.benchmarks))
    each = max(0.0, took[2] - took[1]) / max(1, documents[2] - documents[1])
    return Pace(fixed=max(0.0, took[1] - documents[1] * each), each=each, sizes=tuple(whole.values()))


def _lengths(domain: OpenDomain, engine: Engine) -> tuple[float, float]:
    """Return the mean tokens of a prompt and of a completion: a worked solution, or what the model writes."""
    requests = [GenerationRequest(id=problem.id, messages=problem.messages) for problem in domain.problems]
    written = engine.generate(requests, domain.domain.sampling)
    solutions = [engine.count_tokens(problem.solution or problem.answer) for problem in domain.problems]
    prompts = [each.prompt_tokens for each in written]
    return fmean(prompts), max(fmean(solutions), fmean(each.tokens for each in written))


def _read(engine: Engine, text: str) -> float:
    requests = [ScoringRequest(id=str(place), context=f"{place} {text}", continuation=" end") for place in range(ASKED)]
    engine.loglikelihood(requests[:1])
    began = time.perf_counter()
    engine.loglikelihood(requests)
    return (time.perf_counter() - began) / sum(engine.count_tokens(each.context) for each in requests)


def _written(engine: Engine) -> float:
    """Time a batch of completions; those that end early count as far as they were written."""
    requests = [GenerationRequest(id=str(place), prompt=f"{place}, {place + 1},") for place in range(BATCH)]
    engine.generate(requests[:1], Sampling(max_new_tokens=2))
    began = time.perf_counter()
    written = engine.generate(requests, Sampling(max_new_tokens=NEW_TOKENS))
    return (time.perf_counter() - began) / max(1, sum(each.tokens for each in written))


def _trained(checkpoint: Checkpoint, text: str) -> tuple[float, float]:
    """Time passes through a model and back; return seconds a token, and the number of weights."""
    import torch

    from pfh.kit.tokens.loading import pick_device
    from pfh.kit.training.models import free_memory, load_for_training

    model, tokenizer = load_for_training(checkpoint)
    device = pick_device()
    model = model.to(device)
    model.train()
    tokens = torch.tensor([tokenizer(text)["input_ids"]] * TRAINED, device=device)
    weights = float(sum(each.numel() for each in model.parameters()))
    took = []
    for _ in range(3):
        began = time.perf_counter()
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        loss.item()  # what is asked of an accelerator is done only now
        model.zero_grad()
        took.append(time.perf_counter() - began)
    del model, loss
    free_memory()
    return min(took[1:]) / tokens.numel(), weights

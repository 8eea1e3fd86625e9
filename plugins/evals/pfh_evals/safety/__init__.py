"""Does the model refuse harmful requests and answer harmless ones, and how firmly?"""

from __future__ import annotations

from typing import Annotated

from pfh import hookimpl
from pfh.errors import DataUnavailableError, NotNumbersError
from pfh.hooks.evals import Analysis, AnalysisSpec, EvaluationSpec, PlanSpec
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.judges import reads_of
from pfh.hooks.meanings import Draws, Names, Wants
from pfh.hooks.tables import Table
from pfh.kit import refusal_margin
from pydantic import BaseModel, ConfigDict, Field

from pfh_evals.judging import error_arrays, open_judges
from pfh_evals.safety.analysis import analyze_erosion
from pfh_evals.safety.asks import Ask, asks_of
from pfh_evals.safety.attacked import attacks_of, measure_attacks
from pfh_evals.safety.latent import measure_latent, with_targets
from pfh_evals.safety.latent_benchmarks import choose
from pfh_evals.safety.own.base import measured
from pfh_evals.safety.plan import planned
from pfh_evals.safety.rating import answered, measure_rates


class Options(BaseModel):
    """How the family is put to a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="length limit of a completion; by default 48 for refusals and 512 for harm",
    )
    temperature: Annotated[float, Draws.COMPLETIONS] = Field(
        0.0, ge=0, description="softmax temperature; 0 is greedy decoding"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus mass that is kept")
    judge: Annotated[str, Names.JUDGE] = Field(
        "rule",
        description="judge that labels completions: 'rule' needs nothing; 'embedding' (an 84 MB download, slower) "
        "agrees better with people where a model lectures or deflects instead of refusing in words; of several, as in "
        "rule,embedding, the first decides and the others are shown beside it",
    )
    attacks: Annotated[str, Names.ATTACK] = Field(
        "direct",
        description="attacks that harmful prompts are put under, as in direct,prefill,templates: `pfh list-plugins "
        "--kind attacks`; the direct rate is measured whatever is named",
    )
    transfer: Annotated[bool, Wants.REFERENCE] = Field(
        False, description="send the strings that a search found on the first model to every other one as well"
    )
    judge_errors: Annotated[str, Names.JUDGE_ERRORS] = Field(
        "",
        description="a file of your own labels beside the judge's, or counts of them, in place of the errors that the "
        "judge brings along",
    )
    openings: str = Field(
        "|".join(refusal_margin.OPENINGS),
        description="what a refusal begins with, separated by |: the refusal margin is their log-odds",
    )
    depths: str = Field(
        "1,2,3,5,8,16",
        pattern=r"^[1-9][0-9]*(,[1-9][0-9]*)*$",
        description="numbers of tokens of the wanted answer that are put into the model's mouth, for the depth of its "
        "refusals",
    )
    margin_prompts: int = Field(
        100, ge=0, description="at most so many prompts of a benchmark for margins and target likelihoods; 0 is all"
    )
    depth_prompts: int = Field(
        20,
        ge=0,
        description="at most so many prompts of a benchmark for depths, and a third of them or 16; 0 is all",
    )
    em_samples: int = Field(50, ge=1, description="answers to each question of em-probes, drawn at temperature 1")
    depth_tokens: int = Field(12, ge=1, description="length limit of a completion after such a prefill")


@hookimpl
def options() -> type[BaseModel]:
    """Name the options of the family."""
    return Options


@hookimpl
def evaluate(spec: EvaluationSpec) -> Evaluation:
    """Put every prompt to the model in one call, label all completions, and score each benchmark by the first judge.

    Raises:
        UserError: a benchmark was asked for that the family does not have, or the judge cannot be opened.
    """
    names = choose(spec.benchmarks)
    chosen, latent = names.rated, names.latent
    judges = open_judges(spec, of_harm=True)
    asks: list[Ask] = []
    sources: dict[str, str] = {}
    unavailable: dict[str, str] = {}
    for benchmark in dict.fromkeys((*chosen, *names.attacked, *(each.of for each in latent))):
        try:
            documents, sources[benchmark.name] = benchmark.load(spec.data)
        except DataUnavailableError as error:
            unavailable[benchmark.name] = str(error)
            continue
        asks += asks_of(benchmark, documents, spec.limit, spec.part)
    if attacks_of(spec) or any(each.metric != "refusal_margin" for each in latent):
        asks = with_targets(asks, spec.data)
    broken = ""
    try:
        samples = answered([ask for ask in asks if ask.benchmark in chosen], judges, spec)
    except NotNumbersError as error:
        samples, broken = [], str(error)
    rates = measure_rates(chosen, judges, spec, unavailable, sources, broken, samples)
    labels = {sample.id: sample.extracted or "broken" for sample in samples}
    judge = next((each for each in judges if "refusal" in reads_of(each)), judges[0])
    under = measure_latent(latent, asks, labels, judge, spec, unavailable, sources)
    attacked = measure_attacks(chosen, asks, judges, spec, unavailable, sources, names.attacked)
    return Evaluation(
        family="safety",
        arrays=error_arrays([judge, *(each for each in judges if each is not judge)]),
        benchmarks=(*rates, *under, *attacked, *(measured(benchmark, judges, spec) for benchmark in names.own)),
    )


@hookimpl
def plan(spec: PlanSpec) -> Table:
    """Say how many prompts `evaluate` would put to a model.

    Raises:
        UserError: a benchmark was asked for that the family does not have.
    """
    return planned(spec)


@hookimpl
def analyze(spec: AnalysisSpec) -> Analysis:
    """Say where refusals of harmful prompts were lost, and what that did to refusals of benign ones."""
    return analyze_erosion(spec)

"""OFF-RL: Direct Preference Optimization on correct against incorrect rollouts of one prompt, or on given pairs."""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pfh import hookimpl
from pfh.errors import StepFailedError
from pfh.hooks.checkpoint import Checkpoint
from pfh.hooks.domains import Problem, Rollout
from pfh.hooks.meanings import Needs
from pfh.hooks.methods import Draw, StageSpec, TrainingResult, TrainingSpec
from pfh.kit.preferences import Pair, check_pairs, preference_trainer
from pfh.kit.supervised import GroundTruthOptions, ground_truth, lost_ends
from pfh.kit.targets import told_forms
from pfh.kit.thoughts import thinks_on
from pfh.kit.training import TrainingOptions, Work, rate, save_trained, train_resumably
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from trl import DPOTrainer


Loss = Literal["sigmoid", "length_normalised", "ipo"]
_TRL_NAMES: Mapping[Loss, str] = {"sigmoid": "sigmoid", "length_normalised": "sigmoid_norm", "ipo": "ipo"}


class Options(GroundTruthOptions, TrainingOptions):
    """Options of DPO.

    Rate, beta and pairs an update are the paper's, which trains all weights with optimizer=rmsprop
    schedule=constant_with_warmup max_grad_norm=10.
    """

    needs: ClassVar[Needs] = Needs.PAIRS

    beta: float = Field(0.1, gt=0, description="strength of the pull towards the reference model")
    samples: int = Field(8, ge=2, description="rollouts a problem, of which the pairs are made")
    pairs_per_prompt: int = Field(2, ge=1, description="most pairs that one prompt may give")
    ground_truth: bool = Field(
        False, description="where no rollout of a prompt is right, its verified ground truth is the chosen completion"
    )
    loss: Loss = Field(
        "sigmoid",
        description="sigmoid: the paper's; length_normalised: log-ratios a token; ipo: squared, towards 1/(2 beta)",
    )
    sft_weight: float = Field(
        0.0, ge=0, description="weight of the chosen completion's negative log-likelihood a token, added to the loss"
    )
    learning_rate: float = rate(1e-6)
    gradient_accumulation: int = Field(16, ge=1, description="batches whose gradients make one update")
    epochs: float = Field(1.0, gt=0, description="passes over the pairs")
    save_steps: int = Field(5, ge=1, description="updates between checkpoints: the most that a killed run repeats")

    @property
    def work(self) -> Work:
        """What it does with a problem."""
        return Work(examples=self.pairs_per_prompt, trained=2, read=2, generated=self.samples, at_once=2)


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """The pairs, and what became of the prompts."""

    pairs: tuple[Pair, ...]
    prompts: int
    paired: int
    """Prompts that gave at least one pair: the effective number of prompts."""
    all_right: int
    all_wrong: int
    """Prompts without a right rollout; those that the ground truth stood in for are not among them."""
    with_truth: int = 0
    """Prompts whose chosen completion is the ground truth, which the model did not write."""
    given: bool = False
    """The data hold the pairs: no rollout was drawn."""

    @property
    def summary(self) -> str:
        """The counts in a sentence or two."""
        if self.given:
            return f"{len(self.pairs)} preference pairs were taken from the data as they are; no rollout was drawn."
        without = self.prompts - self.paired
        return (
            f"{self.paired} of {self.prompts} prompts gave {len(self.pairs)} preference pairs; {without} "
            f"({without / max(self.prompts, 1):.0%}) gave none: {self.all_right} were answered right every time, "
            f"{self.all_wrong} never."
            + (f" In {self.with_truth} prompts the chosen completion is the ground truth." if self.with_truth else "")
        )

    @property
    def figures(self) -> dict[str, float | int | str]:
        """The counts, for the ledger."""
        prompts = max(self.prompts, 1)
        return {
            "pairs": len(self.pairs),
            "prompts": self.prompts,
            "effective_prompts": self.paired,
            "share_without_a_pair": 1 - self.paired / prompts,
            **({"pairs_given": 1} if self.given else {}),
            "share_all_right": self.all_right / prompts,
            "share_all_wrong": self.all_wrong / prompts,
            "share_with_ground_truth": self.with_truth / prompts,
        }


@hookimpl
def options() -> type[BaseModel]:
    """Return the options of the method."""
    return Options


@hookimpl
def check(spec: StageSpec) -> None:
    """Check the preference pairs that the domain holds.

    Raises:
        UserError: one teaches nothing.
    """
    check_pairs(given_pairs(spec.problems))


@hookimpl
def draws(spec: StageSpec) -> tuple[Draw, ...]:
    """Name the rollouts that pairs are made of; none where the data hold the pairs."""
    return () if given_pairs(spec.problems) else (Draw(samples=spec.options.samples),)


@hookimpl
def train(spec: TrainingSpec) -> TrainingResult:
    """Train with TRL on the pairs that the problems bring along; without any, on right and wrong rollouts of each.

    Raises:
        StepFailedError: no prompt has both a right and a wrong rollout, or training broke off.
    """
    options: Options = spec.options
    pairing = _given(spec) or _drawn(spec)
    spec.progress.say(pairing.summary)
    if not pairing.pairs:
        raise StepFailedError(
            f"dpo has nothing to train on: {pairing.summary} Make the domain's problems easier or harder, ask for "
            f"more samples a prompt than {options.samples} or for more problems, or let the ground truth be chosen "
            "where no rollout is right (ground_truth=true); the rollouts are kept."
        )

    def build(arguments: Mapping[str, Any]) -> DPOTrainer:
        return dpo_trainer(spec.checkpoint, pairing.pairs, options, arguments)

    trained = train_resumably(spec, build)
    cut = [
        pair.problem
        for pair, row in zip(pairing.pairs, trained.trainer.train_dataset, strict=True)
        if len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) > options.max_length
    ]
    forms = told_forms((pair.chosen, pair.problem) for pair in pairing.pairs)
    return TrainingResult(
        path=save_trained(trained.trainer, spec.output_dir / "trained"),
        phases=(dataclasses.replace(trained.phase, notes={**trained.phase.notes, **pairing.figures, **forms}),),
        curves=trained.curves,
        notes=(pairing.summary, *lost_ends("pairs", cut)),
    )


def given_pairs(problems: Sequence[Problem]) -> tuple[Pair, ...]:
    """Return the preference pairs that the problems bring along."""
    return tuple(
        Pair(problem=problem, chosen=problem.solution or "", rejected=problem.rejected)
        for problem in problems
        if problem.rejected is not None
    )


def _given(spec: TrainingSpec) -> Pairing | None:
    pairs = given_pairs(spec.problems)
    if not pairs:
        return None
    prompts = len(spec.problems)
    return Pairing(pairs=pairs, prompts=prompts, paired=len(pairs), all_right=0, all_wrong=0, given=True)


def _drawn(spec: TrainingSpec) -> Pairing:
    options: Options = spec.options
    drawn = spec.rollouts(samples=options.samples)
    truths = {example.problem.id: example.completion for example in ground_truth(spec)} if options.ground_truth else {}
    return pair(drawn, options.pairs_per_prompt, spec.seed, truths)


def pair(
    rollouts: Sequence[Rollout], pairs_per_prompt: int, seed: int, truths: Mapping[str, str] = MappingProxyType({})
) -> Pairing:
    """Pair right with wrong rollouts of one prompt; equal texts count once, and which ones are taken depends on `seed`.

    No pair of a prompt repeats another, and as many of its rollouts as possible are used. Where none of them is right,
    the one of `truths` (by the problem's id) takes the place, if there is one. A rollout that the length limit cut is
    never chosen, as it teaches no end, and a text without a word is neither chosen nor rejected.
    """
    by_prompt: dict[str, list[Rollout]] = defaultdict(list)
    for rollout in rollouts:
        by_prompt[rollout.problem.id].append(rollout)
    pairs: list[Pair] = []
    paired = all_right = all_wrong = with_truth = 0
    for prompt, drawn in by_prompt.items():
        # One that was cut while it thought has no answer that could be worse than another.
        written = [each for each in drawn if each.completion.strip() and not thinks_on(each.completion)]
        right = sorted({one.completion for one in written if one.verdict.reward == 1 and not one.truncated})
        texts = {one.completion: one.truncated for one in written if one.verdict.reward < 1}
        wrong = sorted(set(texts).difference(right))
        if not right and prompt in truths:
            right = [truths[prompt]]
            with_truth += 1
        all_right += not wrong
        all_wrong += not right
        if not right or not wrong:
            continue
        paired += 1
        drawn_as = {one.completion: one.token_ids for one in reversed(written)}
        dice = random.Random(f"{seed}/{prompt}")  # noqa: S311 - a reproducible choice, not a secret
        dice.shuffle(right)
        dice.shuffle(wrong)
        pairs += [
            Pair(
                problem=drawn[0].problem,
                chosen=right[index % len(right)],
                rejected=wrong[index % len(wrong)],
                rejected_cut=texts[wrong[index % len(wrong)]],
                chosen_ids=drawn_as.get(right[index % len(right)], ()),
                rejected_ids=drawn_as.get(wrong[index % len(wrong)], ()),
            )
            for index in range(min(pairs_per_prompt, max(len(right), len(wrong))))
        ]
    return Pairing(
        pairs=tuple(pairs),
        prompts=len(by_prompt),
        paired=paired,
        all_right=all_right,
        all_wrong=all_wrong,
        with_truth=with_truth,
    )


def dpo_trainer(
    checkpoint: Checkpoint, pairs: Sequence[Pair], options: Options, arguments: Mapping[str, Any]
) -> DPOTrainer:
    """Return TRL's trainer with DPO's loss, or a variant of it; the reference is the start model.

    IPO: Azar et al. 2023, arXiv 2310.12036, equation 17, with log-ratios a token. Length normalisation: Meng et al.
    2024, arXiv 2405.14734, but with the reference. Added likelihood: Pang et al. 2024, arXiv 2404.19733, equation 1.
    """
    losses = {_TRL_NAMES[options.loss]: 1.0, **({"sft": options.sft_weight} if options.sft_weight else {})}
    return preference_trainer(checkpoint, pairs, options, arguments, beta=options.beta, losses=losses)

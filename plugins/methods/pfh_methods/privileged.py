"""Privileged information: one set of weights that sees a problem's solution (the teacher) or does not (the student).

Penaloza et al. 2026 (arXiv 2602.04942). Teacher and student share weights, tokenizer and chat template; their prompts
differ by the hint alone. Log-probabilities are those of the sampled tokens, at the sampling temperature.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pfh.errors import UserError
from pfh.hooks.backends import Message
from pfh.hooks.domains import Domain, HasGold, Problem
from pfh.hooks.methods import StageSpec, TrainingResult, TrainingSpec
from pfh.kit.targets import asks_to_reason, form_of, told_forms
from pfh.text import printable
from pydantic import Field

from pfh_methods.grpo import PINNED
from pfh_methods.on_domain import everywhere, on_domain, reward_function
from pfh_methods.online import Build, Chats, OnlineOptions, check_online, train_online

if TYPE_CHECKING:
    import torch
    from transformers import Trainer
    from trl import GRPOTrainer

    from pfh_methods.on_domain import OnlineSetup

HINT = (
    "\n\nHint, for your eyes only. This is verified:\n{information}\n"
    "Reply as you would without the hint, and do not mention it."
)
"""What the last user turn of the teacher's chat has more than the student's."""
LEAK = re.compile(
    r"\bhint\b|\b(given|provided|verified|known|reference)\s+(answer|solution)\b|\bfor your eyes only\b", re.IGNORECASE
)
"""Phrases that only someone who saw the hint would write."""

LEAK_PROBES = 32
"""Completions of the trained student that are searched for them."""

Information = Literal["solution", "answer"]
Role = Literal["teacher", "student"]
PROMPT: Mapping[Role, str] = {"teacher": "teacher", "student": "prompt"}
"""The column of the training rows that holds a side's chat."""


class PrivilegedOptions(OnlineOptions):
    """Options that pi-Distill and OPSD share; the defaults are the authors', but for what a LoRA adapter needs."""

    generations: int = Field(4, ge=2, description="completions a prompt, whose rewards are compared")
    temperature: float = Field(0.7, gt=0, description="softmax temperature of the rollouts and of the trained policy")
    inner_epochs: int = Field(2, ge=1, description="updates made on each batch of rollouts")
    epsilon_high: float = Field(0.2, gt=0, description="upper end of the range that the ratio is clipped to, 1 + this")
    beta: float = Field(0.1, ge=0, description="weight of the divergence between teacher and student")
    information: Information = Field(
        "solution",
        description="what the teacher sees: the worked solution, or the answer (also where the prompts ask for no "
        "reasoning and there is no solution)",
    )


def train_privileged(spec: TrainingSpec, method: str, build: Build) -> TrainingResult:
    """Train with the trainer that `build` makes, and look for traces of the hint in what the student writes then.

    Raises:
        UserError: fewer problems than an update needs, or vLLM was asked for where it cannot run.
        StepFailedError: beta is 0 and no reward ever differed from another of its group, or training broke off.
    """
    informed = _informed(spec, method)
    left_out = len(spec.problems) - len(informed)
    spec = dataclasses.replace(spec, problems=informed)
    result = train_online(spec, method, build, two_chats(spec), only_reward=spec.options.beta == 0, told=_traces)
    shown = told_forms((_information(each, spec.domain, spec.options.information), each) for each in informed)
    form = {"target_form": f"own completions, teacher shown: {shown['target_form']}"}
    phases = tuple(
        dataclasses.replace(phase, notes={**phase.notes, **form}) if "target_form" in phase.notes else phase
        for phase in result.phases
    )
    lacking = f"{left_out} problems have no {spec.options.information} to show to the teacher and were left out."
    notes = (*([lacking] if left_out else []), *result.notes)
    return dataclasses.replace(result, notes=notes, phases=phases)


def check_privileged(spec: StageSpec, method: str) -> None:
    """Check what is known beforehand to end such a training.

    Raises:
        UserError: no problem has a solution, fewer have one than an update needs, or vLLM cannot run here.
    """
    check_online(dataclasses.replace(spec, problems=_informed(spec, method)), method)


def _informed(spec: StageSpec, method: str) -> tuple[Problem, ...]:
    """Return the problems that have something to show to the teacher."""
    wanted = spec.options.information
    informed = tuple(problem for problem in spec.problems if _information(problem, spec.domain, wanted))
    if not informed:
        worked, answer_alone = (
            (" (where the prompts ask for reasoning, a worked one)", "show the answer alone (information=answer), ")
            if wanted == "solution"
            else ("", "")
        )
        raise UserError(
            f"{method} shows the teacher each problem's {wanted}, and none of the {len(spec.problems)} problems of the "
            f"domain {spec.domain.name} has one to show{worked}: choose another domain or dataset, {answer_alone}or "
            "take a method that learns from rewards alone, such as grpo."
        )
    return informed


def two_chats(spec: TrainingSpec) -> Chats:
    """Return the function that puts a problem to both sides."""
    options: PrivilegedOptions = spec.options

    def chats(problem: Problem) -> dict[str, Sequence[Message]]:
        teacher = informed_chat(problem, spec.domain, options.information)
        return {PROMPT["student"]: problem.messages, PROMPT["teacher"]: teacher}

    return chats


def informed_chat(problem: Problem, domain: Domain, information: Information) -> tuple[Message, ...]:
    """Return the teacher's chat: that of `problem` with the hint at its end."""
    *earlier, asked = problem.messages
    hint = HINT.format(information=_information(problem, domain, information))
    return (*earlier, {"role": asked["role"], "content": asked["content"] + hint})


def _information(problem: Problem, domain: Domain, information: Information) -> str:
    if information == "solution":
        worked = problem.solution or ""
        if worked and (not asks_to_reason(domain) or form_of(worked, problem) != "answer"):
            return worked
        if asks_to_reason(domain):
            return ""
    if isinstance(domain, HasGold):  # the answer is what the verifier checks with, and nothing to be shown
        return domain.gold(problem) or ""
    return problem.answer


def leaks(problem: Problem, completion: str) -> float:
    """Return 1 where `completion` speaks of the hint in words that the problem does not have, else 0."""
    asked = "\n".join(message["content"] for message in problem.messages).lower()
    return float(any(found.group().lower() not in asked for found in LEAK.finditer(completion)))


def clipped(
    logps: torch.Tensor, sampled_logps: torch.Tensor, advantages: torch.Tensor, epsilon: float, epsilon_high: float
) -> torch.Tensor:
    """Return the clipped surrogate objective of every token (Schulman et al. 2017, arXiv 1707.06347, equation 7).

    Args:
        logps: log-probabilities of the trained policy, shape (completions, tokens).
        sampled_logps: those of the policy that wrote the tokens, when it wrote them; same shape.
        advantages: shape (completions,).
        epsilon: how far the ratio of the two may be below 1.
        epsilon_high: how far it may be above.
    """
    import torch

    ratio = torch.exp(logps - sampled_logps)
    advantages = advantages[:, None]
    return torch.minimum(ratio * advantages, ratio.clamp(1 - epsilon, 1 + epsilon_high) * advantages)


def divergence(logits: torch.Tensor, other_logits: torch.Tensor) -> torch.Tensor:
    """Return KL(p || q) at every position, over the whole vocabulary, shape (completions, tokens).

    `logits` are those of p, `other_logits` those of q, shape (completions, tokens, vocabulary). Gradients flow into
    both; what is not to be trained is passed detached.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    def of_one(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        p, q = p.log_softmax(dim=-1), q.log_softmax(dim=-1)
        return (p.exp() * (p - q)).sum(dim=-1)

    # One completion at a time, and computed again on the way back: three more arrays of the logits' size are saved.
    pairs = zip(logits, other_logits, strict=True)
    return torch.stack([checkpoint(of_one, one, other, use_reentrant=False) for one, other in pairs])


@dataclass(frozen=True, kw_only=True)
class RoleLogits:
    """What one side makes of a batch of completions."""

    logits: torch.Tensor
    """At the sampling temperature, shape (completions, tokens, vocabulary)."""
    logps: torch.Tensor
    """Of the tokens that stand there, shape (completions, tokens)."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A batch of completions as both sides read it."""

    teacher: RoleLogits
    student: RoleLogits
    sampled_logps: torch.Tensor
    """Log-probabilities of the tokens for the side that wrote them, when it wrote them."""
    advantages: torch.Tensor
    """Of the reward alone, in GRPO's groups: a divergence in it would be divided by its own standard deviation."""


Objective = Callable[[Reading], "torch.Tensor"]
"""(batch) -> what is to be maximised, a number a token."""


def privileged_trainer(
    setup: OnlineSetup, arguments: Mapping[str, Any], *, sampler: Role, trained: Container[Role], objective: Objective
) -> GRPOTrainer:
    """Return TRL's GRPO trainer with `objective` in place of its loss.

    Args:
        setup: what it is built on.
        arguments: of GRPOConfig, that the online methods share.
        sampler: the side that writes the completions; both read them.
        trained: the sides that gradients flow into.
        objective: what is maximised, as the mean over the tokens of an update.
    """
    from accelerate.utils import gather_object
    from trl import GRPOConfig, GRPOTrainer
    from trl.trainer.utils import entropy_from_logits, pad, selective_log_softmax

    other: Role = "student" if sampler == "teacher" else "teacher"
    prompts: Mapping[Role, str] = {sampler: "prompt", other: "other_prompt"}

    class Privileged(on_domain(GRPOTrainer, setup, kl_from_start=False)):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            rows = [row | {"prompt": row[PROMPT[sampler]]} for row in inputs]
            batch: dict[str, Any] = super()._generate_and_score_completions(rows)
            batch |= self._padded_prompts([row[PROMPT[other]] for row in inputs])
            if other in trained:  # TRL counts the sequences of the side that wrote.
                both = batch["other_prompt_mask"].sum() + batch["completion_mask"].sum()
                (tokens,) = everywhere(self.accelerator, int(both))
                self.state.num_input_tokens_seen += tokens
            return batch

        def _padded_prompts(self, chats: Sequence[Sequence[Message]]) -> dict[str, torch.Tensor]:
            import torch

            ids = [torch.tensor(one) for one in self._tokenize_prompts(chats)[0]]
            padding = {"padding_side": "left", "pad_to_multiple_of": self.pad_to_multiple_of}
            padded = pad(ids, padding_value=self._tokenizer.pad_token_id, **padding)
            mask = pad([torch.ones_like(one) for one in ids], padding_value=0, **padding)
            device = self.accelerator.device
            return {"other_prompt_ids": padded.to(device), "other_prompt_mask": mask.to(device)}

        def read(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor], role: Role) -> RoleLogits:
            """Return what a side makes of the completions; gradients flow where it is trained."""
            import torch

            ids, prompt = batch["completion_ids"], prompts[role]
            with torch.set_grad_enabled(torch.is_grad_enabled() and role in trained), self.accelerator.autocast():
                logits = model(
                    input_ids=torch.cat([batch[f"{prompt}_ids"], ids], dim=1),
                    attention_mask=torch.cat([batch[f"{prompt}_mask"], batch["completion_mask"]], dim=1),
                    logits_to_keep=ids.size(1) + 1,
                    use_cache=False,
                ).logits
                logits = logits[:, :-1].float() / self.temperature
            return RoleLogits(logits=logits, logps=selective_log_softmax(logits, ids))

        def _compute_loss(self, model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            import torch

            mask = inputs["completion_mask"]
            sides = {role: self.read(model, inputs, role) for role in ("teacher", "student")}
            reading = Reading(
                teacher=sides["teacher"],
                student=sides["student"],
                sampled_logps=inputs.get("old_per_token_logps", sides[sampler].logps.detach()),
                advantages=inputs["advantages"],
            )
            per_token = objective(reading) * mask * inputs.get("importance_sampling_ratio", 1.0)
            with torch.no_grad():
                apart = divergence(sides[sampler].logits, sides[other].logits) * mask
                self.log_mean("kl", apart, mask)
                self.log_mean("entropy", entropy_from_logits(sides["student"].logits), mask)
            for differences in gather_object([_by_token(setup, inputs["completion_ids"], apart)]):
                setup.tally.differed(differences)
            return -self.mean_over_update(per_token, inputs)

    config = GRPOConfig(
        **arguments, **PINNED, importance_sampling_level="token", beta=0.0, loss_type="dapo", scale_rewards="group"
    )
    reward = reward_function(setup, {"leaks": leaks})
    return Privileged(reward_funcs=reward, args=config, **setup.shared_arguments)


def tokens_apart(differences: Mapping[str, float], most: int = 5) -> tuple[str, ...]:
    """Return a sentence that names the tokens with the largest part in the divergence."""
    whole = sum(part for part in differences.values() if part > 0)
    largest = sorted(differences.items(), key=lambda item: (-item[1], item[0]))[:most]
    named = [f"{printable(repr(token), lines=False)} ({part / whole:.0%})" for token, part in largest if part > 0]
    return (f"Teacher and student differ most in the tokens {', '.join(named)}.",) if named else ()


def _traces(trainer: Trainer) -> tuple[str, ...]:
    """Say what the hint has left in the student."""
    return (_student_leaks(trainer), *tokens_apart(trainer.trained_on.tally.differences))


def _student_leaks(trainer: Trainer) -> str:
    """Say how often the trained student speaks of the hint, in a few completions of its own."""
    import torch

    setup = trainer.trained_on
    generations = setup.spec.options.generations
    problems = [setup.spec.problems[place] for place in setup.dataset["problem"][: LEAK_PROBES // generations]]
    asked = [problem for problem in problems for _ in range(generations)]
    trainer.model.eval()
    with torch.random.fork_rng():
        torch.manual_seed(setup.spec.seed)
        ids = trainer._generate([list(problem.messages) for problem in asked])[1]
    leaked = sum(leaks(problem, setup.read(problem, one).text) for problem, one in zip(asked, ids, strict=True))
    return f"{leaked:.0f} of {len(asked)} completions of the trained student speak of the hint that it was not shown."


def _by_token(setup: OnlineSetup, ids: torch.Tensor, differences: torch.Tensor) -> dict[str, float]:
    """Return the summed `differences` by the text of the token."""
    sums = differences.new_zeros(int(ids.max()) + 1).index_add(0, ids.flatten(), differences.flatten())
    return {setup.tokenizer.decode([token]): float(sums[token]) for token in sums.nonzero().flatten().tolist()}

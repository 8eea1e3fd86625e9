"""Privileged information: one set of weights that sees a problem's solution (the teacher) or does not (the student).

Penaloza et al. 2026 (arXiv 2602.04942). Teacher and student share weights, tokenizer and chat template; their prompts
differ by the hint alone. Log-probabilities are those of the sampled tokens, at the sampling temperature.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pfh.errors import UserError
from pfh.hooks.backends import Message
from pfh.hooks.domains import Domain, HasGold, Problem
from pfh.hooks.methods import StageSpec, TrainingResult, TrainingSpec
from pfh.text import printable
from pydantic import Field

from pfh_methods.on_domain import on_domain
from pfh_methods.online import Build, Chats, OnlineOptions, check_online, train_online

if TYPE_CHECKING:
    import torch
    from transformers import Trainer

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
    beta: float = Field(0.1, ge=0, description="weight of the divergence between teacher and student")
    information: Information = Field(
        "solution", description="what the teacher sees: the worked solution where the domain has one, or the answer"
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
    result, trainer = train_online(spec, method, build, two_chats(spec), only_reward=spec.options.beta == 0)
    lacking = f"{left_out} problems have no {spec.options.information} to show to the teacher and were left out."
    notes = (
        *([lacking] if left_out else []),
        *result.notes,
        _student_leaks(trainer),
        *tokens_apart(trainer.trained_on.tally.differences),
    )
    return dataclasses.replace(result, notes=notes)


def check_privileged(spec: StageSpec, method: str) -> None:
    """Refuse what is known beforehand to end such a training.

    Raises:
        UserError: no problem has a solution, fewer have one than an update needs, or vLLM cannot run here.
    """
    check_online(dataclasses.replace(spec, problems=_informed(spec, method)), method)


def _informed(spec: StageSpec, method: str) -> tuple[Problem, ...]:
    """Return the problems that have something to show to the teacher."""
    wanted = spec.options.information
    informed = tuple(problem for problem in spec.problems if _information(problem, spec.domain, wanted))
    if not informed:
        raise UserError(
            f"{method} shows the teacher each problem's solution, and none of the {len(spec.problems)} problems of the "
            f"domain {spec.domain.name} has a solution or an answer: choose another domain, or a method that learns "
            "from rewards alone, such as grpo."
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
    if information == "solution" and problem.solution:
        return problem.solution
    gold = domain.gold(problem) if isinstance(domain, HasGold) else None
    return gold or problem.answer


def leaks(problem: Problem, completion: str) -> float:
    """Return 1 where `completion` speaks of the hint in words that the problem does not have, else 0."""
    asked = "\n".join(message["content"] for message in problem.messages).lower()
    return float(any(found.group().lower() not in asked for found in LEAK.finditer(completion)))


def group_advantages(rewards: torch.Tensor, generations: int) -> torch.Tensor:
    """Return GRPO's advantages (arXiv 2402.03300, section 4.1.2) of `rewards`, shape (completions,), in groups."""
    groups = rewards.view(-1, generations)
    centred = groups - groups.mean(dim=1, keepdim=True)
    return (centred / (groups.std(dim=1, keepdim=True) + 1e-4)).view(-1)


def clipped(logps: torch.Tensor, sampled_logps: torch.Tensor, advantages: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return the clipped surrogate objective of every token (Schulman et al. 2017, arXiv 1707.06347, equation 7).

    Args:
        logps: log-probabilities of the trained policy, shape (completions, tokens).
        sampled_logps: those of the policy that wrote the tokens, when it wrote them; same shape.
        advantages: shape (completions,).
        epsilon: half the width of the range that the ratio of the two is clipped to.
    """
    import torch

    ratio = torch.exp(logps - sampled_logps)
    advantages = advantages[:, None]
    return torch.minimum(ratio * advantages, ratio.clamp(1 - epsilon, 1 + epsilon) * advantages)


def divergence(logps: torch.Tensor, other_logps: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean over the tokens of each completion of log p - log q: an estimate of KL(p || q) a token.

    `logps` are those of the policy p that wrote the tokens, `other_logps` those of q, shape (completions, tokens).
    """
    return ((logps - other_logps) * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def privileged_trainer(setup: OnlineSetup, sampler: Role) -> type[Any]:
    """Return a subclass of GRPOTrainer whose completions are written by one side and read by both.

    To each batch it adds: the other side's prompts, "old_per_token_logps" of the sampler, and "shaped_advantages" of
    the reward less beta times the divergence of the sampler from the other side.
    """
    from accelerate.utils import gather_object
    from trl import GRPOTrainer

    options: PrivilegedOptions = setup.spec.options
    other: Role = "student" if sampler == "teacher" else "teacher"

    class Privileged(on_domain(GRPOTrainer, setup, kl_from_start=False)):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            import torch

            rows = [row | {"prompt": row[PROMPT[sampler]]} for row in inputs]
            batch: dict[str, Any] = super()._generate_and_score_completions(rows)
            batch |= self._padded_prompts([row[PROMPT[other]] for row in inputs])
            size, mask = self.args.per_device_train_batch_size, batch["completion_mask"]
            with torch.no_grad():
                if "old_per_token_logps" not in batch:
                    batch["old_per_token_logps"], _ = self.logps(self.model, batch, sampler, size)
                sampled_logps = batch["old_per_token_logps"]
                other_logps, _ = self.logps(self.model, batch, other, size)
            apart = divergence(sampled_logps, other_logps, mask)
            # For the policy p that writes, the gradient of E_p[R] - beta KL(p || sg q) is that of E_p[R'] with
            # R' = R - beta (log p - log q), taken for a constant.
            shaped = self.rewards - options.beta * self.accelerator.gather(apart)
            mine = self.accelerator.process_index * len(inputs)
            batch["shaped_advantages"] = group_advantages(shaped, options.generations)[mine : mine + len(inputs)]
            self._metrics["train"]["kl"].append(self.accelerator.gather(apart).mean().item())
            for differences in gather_object(
                [_by_token(setup, batch["completion_ids"], (sampled_logps - other_logps) * mask)]
            ):
                setup.tally.differed(differences)
            return batch

        def _padded_prompts(self, chats: Sequence[Sequence[Message]]) -> dict[str, torch.Tensor]:
            import torch
            from trl.trainer.utils import pad

            ids = [torch.tensor(one) for one in self._tokenize_prompts(chats)[0]]
            padding = {"padding_side": "left", "pad_to_multiple_of": self.pad_to_multiple_of}
            padded = pad(ids, padding_value=self._tokenizer.pad_token_id, **padding)
            mask = pad([torch.ones_like(one) for one in ids], padding_value=0, **padding)
            device = self.accelerator.device
            return {"other_prompt_ids": padded.to(device), "other_prompt_mask": mask.to(device)}

        def logps(
            self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor], side: Role, batch_size: int | None = None
        ) -> tuple[torch.Tensor, torch.Tensor]:
            """Return log-probabilities and entropies of the completions after a side's prompt."""
            prompt = "prompt" if side == sampler else "other_prompt"
            logps: torch.Tensor
            logps, entropies = self.completion_logps(model, batch, prompt, batch_size)
            return logps, entropies

    return Privileged


def tokens_apart(differences: Mapping[str, float], most: int = 5) -> tuple[str, ...]:
    """Return a sentence that names the tokens with the largest part in the divergence."""
    whole = sum(part for part in differences.values() if part > 0)
    largest = sorted(differences.items(), key=lambda item: (-item[1], item[0]))[:most]
    named = [f"{printable(repr(token), lines=False)} ({part / whole:.0%})" for token, part in largest if part > 0]
    return (f"Teacher and student differ most in the tokens {', '.join(named)}.",) if named else ()


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

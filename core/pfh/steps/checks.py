"""What is checked before anything is measured, so that hours of work do not end with an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pfh.errors import PluginError, UserError
from pfh.hooks.budget import Account, Budget
from pfh.hooks.domains import Converses, Domain, Problem, named_problems, why_unverified
from pfh.hooks.meanings import Learns, Meaning, Needs, declares, has_variable
from pfh.hooks.methods import StageSpec
from pfh.registry.plugins import Plugins
from pfh.steps.domains import OpenDomain
from pfh.steps.session import Session
from pfh.steps.training import named_others, named_teacher

if TYPE_CHECKING:
    from pydantic import BaseModel
    from transformers import PreTrainedTokenizerBase

    from pfh.hooks.checkpoint import Checkpoint
    from pfh.kit.training import TrainingOptions


def check_stage(
    session: Session,
    checkpoint: Checkpoint,
    open_domain: OpenDomain,
    method: str,
    *,
    options: BaseModel | None,
    budget: Budget | None,
    later: bool = False,
) -> None:
    """Check that a stage can be trained, as far as that is known beforehand.

    Args:
        session: the run's.
        checkpoint: the start of the run; what earlier stages make of it has the same layers.
        open_domain: what the method is trained on.
        method: its name.
        options: the method's.
        budget: what it may spend.
        later: another stage comes before it.

    Raises:
        PfhError: the stage cannot be trained; says what to change.
    """
    from pfh.kit.training import TrainingOptions

    check_no_conversations(open_domain.domain, method, options, session.plugins)
    check_judged(open_domain.domain, method, options, session.plugins)
    account = Account(budget)
    if isinstance(options, TrainingOptions):
        _check_budget(account, method, options)
        _check_layers(session, checkpoint, method, options)
        _check_room(session, checkpoint, open_domain, method, options)
    session.plugins.check_stage(
        method,
        StageSpec(
            checkpoint=checkpoint,
            domain=open_domain.domain,
            problems=open_domain.problems,
            options=options,
            account=account,
            progress=session.progress,
            teacher=named_teacher(session, options, checkpoint),
            origin=checkpoint if later else None,
            others=named_others(session, options),
            data=session.data,
        ),
    )


def _check_budget(account: Account, method: str, options: TrainingOptions) -> None:
    examples = options.batch_size * options.gradient_accumulation
    update = examples + options.general(examples)
    if not account.lasts(update):
        raise UserError(
            f"The budget of {account.budget} does not last for one update of {method}, which takes {update} samples: "
            "raise --budget, or lower batch_size or gradient_accumulation."
        )


def _check_layers(session: Session, checkpoint: Checkpoint, method: str, options: TrainingOptions) -> None:
    from pfh.kit.training import check_targets
    from pfh.kit.training.targets import left_out
    from pfh.kit.weights import without_weights

    if options.adapter == "lora":
        model = without_weights(checkpoint)
        check_targets(options.lora_targets, model)
        if told := left_out(model):
            session.progress.say(f"{method}: {told}")


def _check_room(
    session: Session, checkpoint: Checkpoint, open_domain: OpenDomain, method: str, options: TrainingOptions
) -> None:
    """Refuse prompts that leave no room for a completion; say what is left out, and what is generated where."""
    from pfh.kit.tokens.loading import load_tokenizer
    from pfh.kit.tokens.taught import encode_prompt

    chosen = options.model_dump()
    writes = "generations" in chosen  # prompts and completions share max_length
    limit = (chosen["max_new_tokens"] or open_domain.domain.sampling.max_new_tokens) if writes else 1
    room = options.max_length - limit
    if room < 1:
        raise UserError(
            f"{method} has max_length={options.max_length}, and completions of up to {limit} tokens leave no room in "
            "it for a prompt: raise max_length, or lower max_new_tokens."
        )
    tokenizer, problems = load_tokenizer(checkpoint), open_domain.problems
    lengths = [len(encode_prompt(tokenizer, problem.messages)) for problem in problems]
    long = [problem for problem, length in zip(problems, lengths, strict=True) if length > room]
    if long and (len(long) == len(problems) or not writes):
        raise UserError(
            f"The prompts of {len(long)} of {len(problems)} problems ({named_problems(long)}) are longer than the "
            f"{room} tokens that max_length={options.max_length} leaves {method} for them: raise max_length, or leave "
            "these out."
        )
    if long:
        session.progress.say(
            f"{method} leaves out {len(long)} of {len(problems)} prompts: longer than {room} tokens "
            f"({named_problems(long)})"
        )
    if not writes:
        _tell_cut(session, tokenizer, method, options, problems, lengths)
    if chosen.get(f"use_{session.backend}") is False:
        session.progress.say(
            f"{method} draws the completions that it trains on without the backend {session.backend}: "
            f"use_{session.backend} is off"
        )


def _tell_cut(
    session: Session,
    tokenizer: PreTrainedTokenizerBase,
    method: str,
    options: TrainingOptions,
    problems: Sequence[Problem],
    lengths: Sequence[int],
) -> None:
    """Name the problems whose own completion, or rejected one, finds no room behind the prompt and would be cut."""
    from pfh.kit.tokens.encoding import encode_text

    def fits(problem: Problem, prompt: int) -> bool:
        texts = [text for text in (problem.solution, problem.rejected) if text]
        # A token holds a byte at least, so most need not be counted.
        return all(
            prompt + len(text.encode()) < options.max_length
            or prompt + len(encode_text(tokenizer, text)) < options.max_length  # and one token that ends it
            for text in texts
        )

    cut = [problem for problem, length in zip(problems, lengths, strict=True) if not fits(problem, length)]
    if cut:
        session.progress.say(
            f"{method} cuts the completions of {len(cut)} of {len(problems)} problems at max_length="
            f"{options.max_length}, so that they teach no end: {named_problems(cut)}"
        )


def check_no_conversations(domain: Domain, method: str, options: BaseModel | None, plugins: Plugins) -> None:
    """Check that a method can learn from the conversations that the domain holds.

    One that can learn from them says so in its options: `learns: ClassVar[Learns] = Learns.CONVERSATIONS`.

    Raises:
        UserError: the method does not say so.
    """
    able = declares(options, Learns.CONVERSATIONS) or declares(options, Learns.MERGES)
    if isinstance(domain, Converses) and not able:
        others = ", ".join(_methods_that_declare(Learns.CONVERSATIONS, plugins))
        raise UserError(
            f"{method} learns from single completions, and the domain {domain.name} holds conversations with a tool: "
            f"leave out its option tool, or take a method that learns from them ({others or 'none is installed'})."
        )


def check_judged(domain: Domain, method: str, options: BaseModel | None, plugins: Plugins) -> None:
    """Check that the domain judges completions where the method learns from what it says of them, or holds its pairs.

    Such a method says so in its options: `needs: ClassVar[Needs] = Needs.VERIFIER`, or `Needs.PAIRS`.

    Raises:
        UserError: nothing judges.
    """
    unverified = why_unverified(domain)
    if not unverified:
        return
    if declares(options, Needs.PAIRS) and all(one.rejected is None for one in domain.problems("train", 1, 0)):
        raise UserError(
            f"{method} needs preference pairs (chosen and rejected) in the data, or a verifier that tells right "
            f"rollouts from wrong ones: {unverified}."
        )
    if declares(options, Needs.VERIFIER):
        needing = {name for need in Needs for name in _methods_that_declare(need, plugins)}
        others = ", ".join(name for name in plugins.catalogue.names("methods") if name not in needing)
        raise UserError(
            f"{method} learns from what a verifier says of completions, and {unverified}; or take a method that needs "
            f"none ({others})."
        )


def _methods_that_declare(meaning: Meaning, plugins: Plugins) -> Iterator[str]:
    for name in plugins.catalogue.names("methods"):
        try:
            if has_variable(plugins.options_model("methods", name), meaning):
                yield name
        except PluginError:  # a method that cannot be used is no advice
            continue

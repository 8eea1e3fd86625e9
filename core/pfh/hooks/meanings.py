"""What an option means to the core, declared by its type and not by its name.

class Options(BaseModel):
    teacher: Annotated[str, Names.MODEL] = Field("", description="the model that writes the completions")
    wants: ClassVar[Wants] = Wants.DOMAIN
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel


class Names(Enum):
    """What the value of an option names, so that it is found before anything is measured and decides the key."""

    MODEL = "model"
    """Of a method: `StageSpec.teacher` is the checkpoint. Of a judge or an attack, which opens it itself: where it is a
    folder, its weights decide the key."""
    MODELS = "models"
    """Of a method: several models, with commas; `StageSpec.others` are the checkpoints."""
    ROWS = "rows"
    """Of a method: rows as `pfh.kit.rows` reads them, a dataset or a file, whose content decides the key."""
    FILE = "file"
    """Of a method, a judge or an attack: a file whose content decides the key as the option's value does."""
    JUDGE = "judge"
    """Of a benchmark family, which opens it with `EvaluationSpec.judge`; of several, with commas, the first decides."""
    ATTACK = "attack"
    """Of a benchmark family, which runs it with `EvaluationSpec.attack`; several are separated by commas."""
    JUDGE_ERRORS = "judge errors"
    """Of a benchmark family: a file of the user's own counts of the judge against people. It is read when figures are
    made, so that it decides no sample and no key."""


class Wants(Enum):
    """What a benchmark family is handed: the meaning of a flag, if that depends on it, or a class variable."""

    DOMAIN = "domain"
    """The run's domain, as `EvaluationSpec.domain`."""
    REFERENCE = "reference"
    """The model that is compared with, as `EvaluationSpec.reference`."""


class Learns(Enum):
    """What a method can learn from beside single completions: a class variable."""

    CONVERSATIONS = "conversations"
    OWN_PROMPTS = "own prompts"
    """The method brings its prompts along: the run's problems decide nothing of what it leaves, and so no key."""
    MERGES = "merges"
    """Nothing is trained: weights that are there are merged, in one process whatever `--accelerate` says. Nor do the
    run's problems decide anything of what it leaves."""
    NOTHING = "nothing"
    """Nothing is trained: the start is measured again under another seed and in other batches, which is the noise."""


class Leaves(Enum):
    """What weights a method leaves: a class variable. Without it an adapter where its options train one."""

    ALL_WEIGHTS = "all weights"
    SOFT_THOUGHTS = "soft thoughts"
    """Vectors in every prompt over weights that stay as they are (`pfh.kit.soft_thoughts`), which no later stage can
    train on."""


class Needs(Enum):
    """What a method cannot do without: a class variable."""

    VERIFIER = "verifier"
    """It learns from what the domain's verifier says of completions."""
    PAIRS = "pairs"
    """It learns from preference pairs: those of the data, or what a verifier tells right from wrong."""


class Draws(Enum):
    """What a number above 0 makes random."""

    COMPLETIONS = "completions"
    """The option is a softmax temperature: above it another seed draws other completions."""


Meaning = Names | Wants | Learns | Leaves | Needs | Draws


def values(options: BaseModel | None, meaning: Meaning) -> tuple[Any, ...]:
    """Return the values of the fields of `options` that are declared to have `meaning`; an empty one says nothing."""
    if options is None:
        return ()
    fields = type(options).model_fields
    found = (getattr(options, name) for name, field in fields.items() if meaning in field.metadata)
    return tuple(value for value in found if value)


def declares(options: BaseModel | None, meaning: Meaning) -> bool:
    """Say whether a class variable of `options` is `meaning`, or a field that means it is set."""
    return has_variable(type(options), meaning) or bool(values(options, meaning))


def has_variable(model: type | None, meaning: Meaning) -> bool:
    """Say whether a class variable of the options model is `meaning`."""
    return model is not None and any(value is meaning for each in model.__mro__ for value in vars(each).values())


def names_of(options: BaseModel | None, meaning: Names) -> tuple[str, ...]:
    """Return what the options with `meaning` name, each once; a comma separates several."""
    named = (name.strip() for value in values(options, meaning) for name in str(value).split(","))
    return tuple(dict.fromkeys(filter(None, named)))


def decisive(options: BaseModel | None) -> dict[str, Any]:
    """Return as JSON the options that decide what a model is asked and how it is scored."""
    if options is None:
        return {}
    fields = type(options).model_fields
    spared = {name for name, field in fields.items() if Names.JUDGE_ERRORS in field.metadata}
    return options.model_dump(mode="json", exclude=spared)


def name_of(options: BaseModel | None, meaning: Names) -> str:
    """Return what the option with `meaning` names; empty where it names nothing."""
    return next(iter(values(options, meaning)), "")

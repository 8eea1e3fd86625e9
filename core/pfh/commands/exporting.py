"""`pfh export`: what is stored of a model, as the log of another tool."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pfh.commands.subjects import Subject
from pfh.errors import StepFailedError, UserError
from pfh.hooks.evaluation import Evaluation
from pfh.hooks.readers import WriteSpec
from pfh.hooks.samples import Sample
from pfh.registry.plugins import Plugins

ATTACK_KEYS = ("attempts", "prefill")
"""Of a sample's `extra`, what holds the strings of an attack."""


def export_subject(
    subject: Subject, output: Path, plugins: Plugins, reader: str | None = None, *, with_attacks: bool = False
) -> Path:
    """Write the stored evaluations of `subject` below `output`, in the format of `reader`; return what was written.

    Without `reader` the format is that of the one installed reader that writes. Of what was asked under an attack the
    bare request is written, and the strings of the attack only `with_attacks`.

    Raises:
        UserError: no such reader writes, several do and none was named, or `output` cannot be written.
    """
    families = subject.families.values()
    spec = WriteSpec(
        folder=output,
        model=subject.model.name,
        evaluations=[family.evaluation if with_attacks else without_attacks(family.evaluation) for family in families],
        settings={name: told for family in families for name, told in family.settings.items()},
    )
    able = [name for name in plugins.catalogue.names("readers") if plugins.implements("readers", name, "write_log")]
    if reader is None and len(able) != 1:
        raise UserError(f"Name the format with --format: {' or '.join(able) or 'no installed reader writes one'}.")
    chosen = reader or able[0]
    plugins.load("readers", chosen)
    if chosen not in able:
        raise UserError(f"{chosen} only reads logs; formats that can be written: {', '.join(able) or 'none'}.")
    try:
        written = plugins.write_log(chosen, spec)
    except StepFailedError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        why = error.__cause__.strerror
        raise UserError(f"{output} cannot be written ({why}); name another with --output.") from error
    assert written is not None
    return written


def without_attacks(evaluation: Evaluation) -> Evaluation:
    """Return the evaluation without the strings of attacks: they break what they were made for, wherever they lie."""
    return dataclasses.replace(
        evaluation,
        benchmarks=tuple(
            dataclasses.replace(each, samples=tuple(map(_bare, each.samples))) for each in evaluation.benchmarks
        ),
    )


def _bare(sample: Sample) -> Sample:
    if "attack" not in sample.extra:
        return sample
    extra = {key: value for key, value in sample.extra.items() if key not in ATTACK_KEYS}
    return dataclasses.replace(sample, prompt=str(sample.extra.get("user_prompt", "")), extra=extra)

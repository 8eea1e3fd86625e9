"""Logs that lm-eval 0.4.3 to 0.4.13 and three versions of Inspect wrote of the same two models: every pair compares.

What is right is counted here from the rules by which those models answered (`lm_eval_logs/make.py`,
`inspect_logs/make_versions.py`), not from the logs.
"""

import math
import tarfile
from pathlib import Path

import pytest
from pfh.commands.matching import matched
from pfh.commands.subjects import open_subject
from pfh.progress import Silent
from pfh.registry.plugins import Plugins
from pfh.statistics.paired import paired_benchmarks
from pfh.steps.session import Session
from pfh.store.store import Store

from tests.inspect_logs import make_versions as inspect_made
from tests.lm_eval_logs import make as lm_eval_made

HERE = Path(__file__).parent


def subjects(archive, folder):
    """Return version to (subject before, subject after)."""
    with tarfile.open(HERE / archive) as packed:
        packed.extractall(folder, filter="data")
    session = Session(plugins=Plugins(), store=Store(folder / ".store"), progress=Silent())
    return {
        each.name: tuple(open_subject(str(each / name), session) for name in ("before", "after"))
        for each in sorted(folder.iterdir())
        if not each.name.startswith(".")
    }


def counted(before, after):
    """Return what is measured to (documents, mean before, mean after, right then wrong, wrong then right)."""
    after, notes = matched(before, after, allow_mismatch=False)
    found = {}
    for family, stored in before.families.items():
        for x, y in paired_benchmarks(stored.evaluation, after.families[family].evaluation):
            later = {sample.id: sample.score for sample in y.samples}
            pairs = [(sample.score, later[sample.id]) for sample in x.samples]
            means = [sum(scores) / len(pairs) for scores in zip(*pairs, strict=True)]
            flips = [sum(pair == way for pair in pairs) for way in ((1, 0), (0, 1))]
            found[x.identity] = (len(pairs), *means, *flips)
    return found, notes


def expected(rules):
    """Return (documents, mean before, mean after, right then wrong, wrong then right) of (before, after) a document."""
    flips = [sum(pair == way for pair in rules) for way in ((1, 0), (0, 1))]
    return (len(rules), sum(x for x, _ in rules) / len(rules), sum(y for _, y in rules) / len(rules), *flips)


def both(rule, documents):
    return [(float(rule("before", place)), float(rule("after", place))) for place in range(len(documents))]


def strict(name, place):
    return lm_eval_made.reply(name, place) == f"so #### {2 * place}"


def flexible(name, place):
    return lm_eval_made.reply(name, place).endswith(f" {2 * place}")


def pooled(name, size):
    """Return a model's log-likelihood over all texts, by the unit that `size` counts."""
    texts = [each["text"] for each in lm_eval_made.TEXTS]
    return sum(lm_eval_made.likelihood(name, text) for text in texts) / sum(map(size, texts))


def test_every_pair_of_versions_of_lm_eval_compares_and_counts_the_same(tmp_path):
    made = subjects("lm_eval_logs/logs.tar.xz", tmp_path)
    numbers = both(lm_eval_made.right, lm_eval_made.NUMBERS)
    more = both(lm_eval_made.right, lm_eval_made.MORE)
    right = {
        "numbers [none, acc]": numbers,
        "numbers [none, acc_norm]": numbers,
        "more_numbers [none, acc]": more,
        "counting [none, acc]": more + numbers,
        "sums [strict-match, exact_match]": both(strict, lm_eval_made.SUMS),
        "sums [flexible-extract, exact_match]": both(flexible, lm_eval_made.SUMS),
    }
    right = {name: expected(rules) for name, rules in right.items()}
    words = [math.exp(-pooled(name, lambda text: len(text.split()))) for name in ("before", "after")]
    octets = [math.exp(-pooled(name, len)) for name in ("before", "after")]
    bits = [-pooled(name, len) / math.log(2) for name in ("before", "after")]
    assert {"0.4.3", "0.4.5", "0.4.7", "0.4.9.1", "0.4.13"} <= made.keys()
    for old, (before, _) in made.items():
        for new, (_, after) in made.items():
            found, notes = counted(before, after)
            assert {name: found[name] for name in right} == right, (old, new)
            for metric, figures in (("word_perplexity", words), ("byte_perplexity", octets), ("bits_per_byte", bits)):
                assert found[f"texts [none, {metric}]"][1:3] == pytest.approx(figures, abs=1e-9), (old, new, metric)
            assert not any("differ" in note for note in notes), (old, new, notes)


def test_every_pair_of_versions_of_inspect_compares_and_counts_the_same(tmp_path):
    made = subjects("inspect_logs/versions.tar.xz", tmp_path)
    sums = both(inspect_made.right, range(8))
    means = [tuple(sum(inspect_made.choices(name, i)) / 3 for name in ("before", "after")) for i in range(5)]
    modes = [tuple(float(sum(inspect_made.choices(name, i)) >= 2) for name in ("before", "after")) for i in range(5)]
    right = {
        "sums [match, mean]": expected(sums),
        "sums [looks, right, mean]": expected(sums),
        "next_number [choice, mode]": expected(modes),
    }
    digits = [len("777") if not x else len(str(place + 10)) for place, (x, _) in enumerate(sums)]
    assert {name.rpartition("-")[2] for name in made} == {"json", "eval"}
    for old, (before, _) in made.items():
        for new, (_, after) in made.items():
            found, notes = counted(before, after)
            assert {name: found.get(name) for name in right} == right, (old, new, sorted(found))
            assert found["next_number [choice, mean]"][:3] == pytest.approx(expected(means)[:3]), (old, new)
            assert found["sums [looks, digits, mean]"][1] == sum(digits) / 8
            assert not any("differ" in note for note in notes), (old, new, notes)

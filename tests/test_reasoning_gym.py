"""Problems of a seed are the same in every process, whatever its hash seed."""

import os
import subprocess
import sys

from pfh.kit.reasoning_gym import Settled

BUILTIN = """
from pfh_evals.forgetting.builtin import GENERATORS, _documents
for generators in GENERATORS.values():
    for generator in generators:
        print(generator.name, [row["question"] for row in _documents(generator, 0)["test"]][:20])
"""
DOMAIN = """
from pfh.registry.plugins import Plugins
from pfh.testing import NoData
from pfh.hooks.domains import DomainSpec
plugins = Plugins()
options = plugins.options("domains", "reasoning", {"tasks": "isomorphic_strings,ransom_note,syllogism"})
domain = plugins.open_domain("reasoning", DomainSpec(options=options, data=NoData()))
print([problem.messages for problem in domain.problems("train", 12, 0)])
"""


def test_a_seed_gives_the_same_problems_whatever_the_hash_seed():
    told = [
        subprocess.run(
            [sys.executable, "-c", BUILTIN + DOMAIN],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(told[0].splitlines()) > 3
    assert told[0] == told[1]


def test_what_is_left_of_a_settled_set_is_settled():
    letters = Settled("dcba")
    assert list(letters) == list("abcd")
    assert list(letters - {"b"}) == list("acd")
    assert "b" in letters

"""lm-eval's code_eval over the sandbox: tests run where the candidate cannot look, and what cheats does not pass."""

from __future__ import annotations

import pytest
from pfh.sandbox import available
from pfh_evals.forgetting.code_eval import SandboxedCodeEval

pytestmark = pytest.mark.skipif(available() != "", reason=available())

CHECK = (
    "def check(candidate):\n" + "".join(f"    assert candidate({x}) == {x * x + 7}\n" for x in (2, 5, 9)) + "check(f)"
)
RIGHT = "def f(x):\n    return x * x + 7\n"
AGREES = "__eq__=lambda s,o:True"
CHEATS = {
    "leaves": "import os\nos._exit(0)",
    "leaves from a call": "import os\ndef f(x): os._exit(0)",
    "agrees with everything": f"class A:\n {AGREES}\ndef f(x): return A()",
    "an int that agrees": f"class I(int):\n {AGREES}\n __hash__=int.__hash__\ndef f(x): return I(0)",
    "reads frames": (
        "import sys,re,os\nfr=sys._getframe()\nwhile fr:\n  t=re.findall(r'[0-9a-f]{32}',repr(fr.f_locals))\n"
        "  if t: print(t[-1],flush=True); os._exit(0)\n  fr=fr.f_back\ndef f(x): return 0"
    ),
    "reads the tests by gc": (
        "import gc,re\ndef f(x):\n  for o in gc.get_objects():\n"
        "    m=re.search(r'candidate\\(%d\\) == (\\d+)'%x,repr(o)[:9999])\n"
        "    if m: return int(m.group(1))\n  return 0"
    ),
    "another check": "def check(c): pass\ndef f(x): return 0",
    "comments the tests out": "def f(x): return 0\n'''",
    "changes assertions": "import builtins\nbuiltins.AssertionError=ValueError\ndef f(x): return 0",
    "a mock": "from unittest.mock import ANY\ndef f(x): return ANY",
}


def passed(candidate: str, test: str = CHECK) -> float:
    figures, _ = SandboxedCodeEval().compute(references=[test], predictions=[[candidate]], k=[1])
    return figures["pass@1"]


def test_a_right_program_passes_in_the_forms_of_both_tasks():
    assert passed(RIGHT) == 1
    assert passed(RIGHT, "assert f(2) == 11\nassert [f(x) for x in (5,)] == [32]") == 1
    assert passed("def sum(a, b): return a + b + 1", "assert sum(1, 2) == 4") == 1
    assert passed("def half(x): return x / 2", "import math\nassert math.isclose(half(1), 0.5)") == 1


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_does_not_pass(name: str):
    assert passed(CHEATS[name]) == 0

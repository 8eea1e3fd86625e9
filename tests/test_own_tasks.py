"""Task definitions of the user's: data by themselves, and code only where that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pfh.errors import UserError
from pfh.hooks.evals import PlanSpec
from pfh.registry.plugins import Plugins

from tests.test_forgetting import Tables

BASE = """\
task: own
dataset_path: org/data
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_target: 0
doc_to_choice: [a, b]
metric_list: [{metric: acc}]
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that plans a task of so much YAML, beside code that leaves a mark, and returns what is said."""
    (tmp_path / "evil.py").write_text("open('OWNED', 'w').close()\ndef text(doc): return 'q'\n")
    monkeypatch.chdir(tmp_path)

    def run(text: str, **options: str) -> str:
        (tmp_path / "own.yaml").write_text(text)
        plugins = Plugins()
        chosen = plugins.options("evals", "forgetting", {"tasks": str(tmp_path / "own.yaml"), **options})
        data = Tables({("org/data", "default", "test"): [{"question": "1?"}, {"question": "2?"}]})
        table = plugins.plan("forgetting", PlanSpec(options=chosen, data=data, benchmarks=(), limit=None, seed=0))
        assert table is not None
        return str(table.rows)

    return run


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BASE.replace('"{{question}}"', "!function evil.text"), "names Python functions"),
        ("%TAG !e! !func\n---\n" + BASE.replace('"{{question}}"', "!e!tion evil.text"), "names Python functions"),
        (BASE.replace("metric: acc", "metric: ./evil.py"), "a metric that lm-eval has not got"),
        (BASE.replace("metric: acc", "metric: acc, hf_evaluate: true"), "a metric that lm-eval has not got"),
        ("include: other.yaml\ntask: own\n", "names Python functions"),
    ],
)
def test_code_is_refused_unless_it_is_allowed(text: str, said: str, plan: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(BASE.replace('"{{question}}"', "!function evil.text"))
    with pytest.raises(UserError, match=rf"{said}.*-o forgetting\.own_code=true"):
        plan(text)
    assert not (tmp_path / "OWNED").exists()


def test_code_that_is_allowed_runs_and_data_needs_no_leave(plan: Callable[..., str], tmp_path: Path) -> None:
    assert "own" in plan(BASE)
    assert not (tmp_path / "OWNED").exists()
    plan(BASE.replace('"{{question}}"', "!function evil.text"), own_code="true")
    assert (tmp_path / "OWNED").exists()


def test_templates_reach_nothing_outside(plan: Callable[..., str], tmp_path: Path) -> None:
    escape = "{{ cycler.__init__.__globals__.os.system('touch OWNED') }}"
    said = plan(BASE.replace("{{question}}", escape))
    assert "SecurityError" in said or "unsafe" in said, said
    assert not (tmp_path / "OWNED").exists()

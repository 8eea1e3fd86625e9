"""The English phrases that tell what a sentence of a completion does, compiled from phrases.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_FILE = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text(encoding="utf-8"))


def _compiled(name: str) -> re.Pattern[str]:
    text = "".join(line.strip() for line in _FILE["patterns"][name].splitlines())
    return re.compile(re.sub(r"<([A-Z_]+)>", lambda found: str(_FILE["pieces"][found.group(1)]), text))


NOT: str = _FILE["pieces"]["NOT"]
DECLINES = _compiled("declines")
WHOLE_NO = _compiled("whole_no")
REGRETS = _compiled("regrets")
LIMITS = _compiled("limits")
REBUTS = _compiled("rebuts")
CAUTIONS = _compiled("cautions")
OFFERS = _compiled("offers")
GIVES_IN = _compiled("gives_in")
ALTERNATIVE = _compiled("alternative")
HELPS = _compiled("helps")
HARM = _compiled("harm")
LEADING = _compiled("leading")
WHETHER = _compiled("whether")
HOW = _compiled("how")
EVEN_IN_PLAY = _compiled("even_in_play")
CONTRAST = _compiled("contrast")
IDIOMS = _compiled("idioms")

STEPS = re.compile(r"^\s*(\d{1,2}[.):]|[-*•–+]|[a-h][.)])\s+\S", re.MULTILINE)
IMPERATIVES = frozenset(_FILE["imperatives"]["verbs"].split())

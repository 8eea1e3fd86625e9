"""Post-train a language model, and learn what it forgot, whether it is still safe, and if the difference is real.

    import pfh

    results = pfh.run(method="dpo", eval=["safety", "target"], output="my-run")
    results.to_pandas()

`run`, `evaluate`, `compare` and `recover` take what the command line takes, under the same names; `load` reads what
they left, and `study.load` what `pfh matrix` did.
They are imported when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pfh.hooks.hookspecs import hookimpl

if TYPE_CHECKING:
    from pfh.commands.api import compare, evaluate, load, recover, run
    from pfh.commands.study import report as study

__all__ = ["__version__", "compare", "evaluate", "hookimpl", "load", "recover", "run", "study"]

__version__ = "0.6.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - one of the functions of the interface
    if name == "study":
        from pfh.commands.study import report

        return report
    if name not in ("compare", "evaluate", "load", "recover", "run"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pfh.commands import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

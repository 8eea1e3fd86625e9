"""Flags that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from pfh.store.places import store_folder

from pfh_cli.completion import plugin_names

MODEL_HELP = (
    "Hub id, folder, GGUF file or adapter; safe or base for the embedded model; the folder of an earlier run; "
    "a log of another tool (READER:PATH where the path alone does not tell)."
)


Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of the documents, completions and the bootstrap.")]


DivergencePrompts = Annotated[
    int,
    typer.Option(
        metavar="N", min=0, help="Held-out prompts along which the divergence from the start is measured; 0: none."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="At most this many documents a benchmark.", show_default="all"),
]


Margin = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS", help="Changes of at most so many percentage points count as none.", show_default="5"
    ),
]


StopEarly = Annotated[
    bool,
    typer.Option(
        "--stop-early",
        help="End the comparison of a benchmark as soon as its samples decide it: a change, or none above the margin.",
    ),
]


Alpha = Annotated[
    float | None,
    typer.Option(
        metavar="P", help="With --stop-early: the chance of a false stop, over all looks.", show_default="0.05"
    ),
]


Domain = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="For families that put a domain's problems to the model.",
        autocompletion=plugin_names("domains"),
    ),
]


Backend = Annotated[
    str, typer.Option(metavar="NAME", help="What runs the model.", autocompletion=plugin_names("backends"))
]


Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Precision = Annotated[Dtype, typer.Option(help="Precision of generation and scoring; auto suits the device.")]


Revision = Annotated[
    str | None, typer.Option(metavar="REV", help="Branch, tag or commit of a hub model.", show_default="main")
]


AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Load weights that are not safetensors; they can run any code.")
]


Output = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder for results.json and report.html.", show_default="in pfh-results"),
]


Sealed = Annotated[
    float,
    typer.Option(
        metavar="SHARE",
        min=0.0,
        max=0.9,
        help="A fixed share of the items that pfh drift keeps out of its page, and a contract is held against alone.",
    ),
]


StoreFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        envvar="PFH_STORE",
        help="Folder of what runs share and resume from, or a URL such as s3://bucket/folder that mirrors it.",
        parser=store_folder,
        show_default="~/.cache/pfh",
    ),
]


AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]


DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and print what would be measured, and stop.")]


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no log lines.")]


Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        "-m",
        metavar="NAME",
        help="How to post-train; given again, the next stage goes on from the one before.",
        autocompletion=plugin_names("methods"),
    ),
]


Evals = Annotated[
    list[str] | None,
    typer.Option(
        "--eval",
        "-e",
        metavar="FAMILY[:BENCHMARK,...]",
        help="What to measure before and after; may be given again.",
        autocompletion=plugin_names("evals"),
    ),
]


Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="[NAME.]KEY=VALUE",
        help="An option of the method, or of the plugin NAME; may be given again.",
    ),
]


Tasks = Annotated[
    str | None,
    typer.Option(metavar="TASK,...", help="lm-eval tasks, groups, tags or YAML files, in place of a preset."),
]
NumFewshot = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="Worked examples in a prompt.", show_default="as each task says")
]
ChatTemplateKwargs = Annotated[
    list[str] | None,
    typer.Option(
        "--chat-template-kwargs",
        metavar="NAME=VALUE",
        help="Argument of the model's chat template wherever it is used, such as enable_thinking=false.",
    ),
]
ApplyChatTemplate = Annotated[
    bool, typer.Option("--apply-chat-template", help="Put prompts as chats, in the model's own template.")
]

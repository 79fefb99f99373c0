"""The table of views."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.html.parts import View
from workbench.views.batch.fold import BatchFold
from workbench.views.fold import Fold
from workbench.views.kv.fold import KVFold
from workbench.views.mask.fold import MaskFold
from workbench.views.program.fold import ProgramFold
from workbench.views.template.fold import template_fold
from workbench.views.throughput.fold import ThroughputFold
from workbench.views.tokens.colours import MEASURES
from workbench.views.tokens.fold import TokensFold
from workbench.views.tree.fold import TreeFold


@dataclass(frozen=True, kw_only=True)
class ViewKind:
    """One view. Its folder is `workbench/views/<name>`, with the script `view.js` and the style sheet `view.css`."""

    name: str
    fold: Callable[..., Fold[View]]
    """Function that makes the fold from the engine's facts and the view's own options."""
    help: str
    """One sentence for users."""
    widget: str | None = None
    """Its class, as "folder.Class" for one in the `widget.py` of a view's folder; None for a plain `ViewWidget`."""
    arguments: Mapping[str, Mapping[str, Any]] | None = None
    """Options of `%wb <name>`: for each name or flag the keywords of argparse's `add_argument`."""
    variables: tuple[str, ...] = ()
    """Options that the magic takes as names of the notebook's variables."""
    in_dashboard: bool = True


RID: Mapping[str, Any] = {"nargs": "?", "metavar": "RID", "help": "a request's id; without it the newest is followed"}
BY: Mapping[str, Any] = {"default": "probability", "choices": tuple(MEASURES), "help": "what colours them"}
STEP: Mapping[str, Any] = {"type": int, "metavar": "N", "help": "take apart the mask of output token N, from 0"}
TEMPLATE_ARGUMENTS = {
    "messages": {"nargs": "?", "metavar": "VAR", "help": "a variable that holds messages; without it the conversation so far"},
    "--conversation": {"metavar": "NAME", "help": "which conversation, where several go on (default: default)"},
    "--against": {"metavar": "VAR", "help": "messages to compare with; without it the same conversation one turn before"},
}
PROGRAM_ARGUMENTS = {"program": {"nargs": "?", "metavar": "ID", "help": "which run; without it the newest"}}
BATCH_ARGUMENTS = {
    "--steps": {"type": int, "default": 160, "metavar": "N", "help": "show the last N steps (default: 160)"},
    "--skip": {"type": int, "default": 0, "metavar": "N", "help": "leave out the latest N requests, to see those before them"},
}
WINDOW = {"--window": {"type": float, "default": 60.0, "metavar": "SECONDS", "help": "show the last SECONDS (default: 60)"}}

ALL = (
    ViewKind(
        name="tree",
        fold=TreeFold,
        help="The radix tree: which text is stored once, and which requests use it.",
        widget="tree.TreeWidget",
    ),
    ViewKind(
        name="batch",
        fold=BatchFold,
        help="The requests of each step, and what each request waited for.",
        widget="batch.BatchWidget",
        arguments=BATCH_ARGUMENTS,
    ),
    ViewKind(
        name="tokens",
        fold=TokensFold,
        help="The tokens of a request: how each came about, what the model thought.",
        widget="tokens.RequestWidget",
        arguments={"rid": RID, "--by": BY},
    ),
    ViewKind(
        name="throughput",
        fold=ThroughputFold,
        help="Tokens per second, queue, cache hits, memory.",
        widget="throughput.ThroughputWidget",
        arguments=WINDOW,
    ),
    ViewKind(
        name="mask",
        fold=MaskFold,
        help="The mask of a constrained request: how many tokens might come, and which.",
        widget="tokens.RequestWidget",
        arguments={"rid": RID, "--step": STEP},
    ),
    ViewKind(
        name="kv",
        fold=KVFold,
        help="The owner of each page of the KV pool.",
    ),
    ViewKind(
        name="template",
        fold=template_fold,
        help="A conversation as the model reads it, and where its prefix breaks.",
        arguments=TEMPLATE_ARGUMENTS,
        variables=("messages", "against"),
        in_dashboard=False,
    ),
    ViewKind(
        name="program",
        fold=ProgramFold,
        help="The program that runs: its text with its gaps, and their requests.",
        arguments=PROGRAM_ARGUMENTS,
    ),
)
VIEWS = {kind.name: kind for kind in ALL}
"""All views by name, in the order of the dashboard and of help."""

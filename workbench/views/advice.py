"""`Advice`: what a reader of views may do next, which depends on the place where they read."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Ends of sentences, as an order: "Nothing is stored yet: send a chat message"."""

    opens: str
    """Way to a view, whose name stands in the place of {}."""
    newest: str
    """Way back from a request that is not known; the view's name stands in the place of {}."""
    skips: str
    """Way to the requests that the view of the batch has no room for; {} is how many to skip."""
    begins: str
    """Step that gives the views something to show."""
    constrains: str
    """Step that gives them a request with a constraint."""
    programs: str
    """Step that gives them a program."""
    details: str
    """Step that has the next request's token details recorded."""
    restarts: str
    """Step for when the engine has ended."""
    reopens: str
    """Step that makes a view afresh."""


IN_PYTHON = Advice(
    opens='engine.view("{}")',
    newest='engine.view("{}") without an id shows the newest',
    skips='engine.view("batch", skip={})',
    begins='try engine.generate("Once upon a time")',
    constrains='try engine.generate("A river:", {"regex": " [A-Z][a-z]+"})',
    programs="call a @workbench.function with backend=engine",
    details="leave a token view open and run it again, or make the next one within `with engine.token_detail():`",
    restarts="make the engine again to go on",
    reopens="open it again: engine.view(...)",
)
IN_MAGICS = Advice(
    opens="%wb {}",
    newest="%wb {} without an id shows the newest",
    skips="%wb batch --skip {}",
    begins="run a cell with %%wb_chat or %%wb_gen",
    constrains="try %%wb_gen --regex ' [A-Z][a-z]+'",
    programs="%%wb_program runs a cell as one",
    details="leave a token view open and run it again, or run the next one with --detail",
    restarts="%wb load starts it again",
    reopens="open it again: %wb VIEW",
)
_OF_SERVER = {
    "begins": "send a request to the server",
    "constrains": "send a request with a regex or a json_schema to the server",
    "programs": "call a @workbench.function with backend=workbench.RuntimeEndpoint(url)",
}
"""An engine that is only watched generates nothing itself."""
ATTACHED = replace(
    IN_PYTHON,
    **_OF_SERVER,
    details="attach with read_only=False, leave a token view open and send it again",
    restarts="workbench.attach(url) follows the server again",
)
ATTACHED_BY_MAGIC = replace(
    IN_MAGICS,
    **_OF_SERVER,
    details="attach with --manage, leave a token view open and send it again",
    restarts="%wb attach follows the server again",
)
ON_PAGE = Advice(
    opens="the view of {}",
    newest='choose "the newest" to follow what comes',
    skips="skip {} requests",
    begins="send a chat message",
    constrains="send a request with a regex or a json_schema to the server",
    programs=_OF_SERVER["programs"],
    details='check "token detail" above and send it again',
    restarts="this page goes on when the server does",
    reopens="load this page again",
)

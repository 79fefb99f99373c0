"""The settings of an engine: typed groups, each handed down whole, and `ServerArgs`, which is all of them."""

from workbench.config.groups import (
    CacheArgs,
    ComputeArgs,
    GrammarArgs,
    Group,
    LoggingArgs,
    ModelArgs,
    RequestArgs,
    ScheduleArgs,
)
from workbench.config.home import DEFAULT_MODEL, home, profile_folder
from workbench.config.http import HttpArgs
from workbench.config.options import ServerOptions
from workbench.config.server_args import GROUPS, ServerArgs, add_flags

__all__ = [
    "DEFAULT_MODEL",
    "GROUPS",
    "CacheArgs",
    "ComputeArgs",
    "GrammarArgs",
    "Group",
    "LoggingArgs",
    "ModelArgs",
    "RequestArgs",
    "ScheduleArgs",
    "HttpArgs",
    "ServerArgs",
    "ServerOptions",
    "add_flags",
    "home",
    "profile_folder",
]

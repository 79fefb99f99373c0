"""A conversation with a model of Anthropic. Needs ANTHROPIC_API_KEY and the extra `anthropic`."""

from __future__ import annotations

import programs

import workbench as sgl

if __name__ == "__main__":
    sgl.set_default_backend(sgl.Anthropic("claude-3-5-haiku-latest"))
    programs.show_chat()

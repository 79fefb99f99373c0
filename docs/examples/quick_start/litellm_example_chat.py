"""A conversation through LiteLLM, with whichever provider the model names. Needs its key and the extra `litellm`."""

from __future__ import annotations

import programs

import workbench as sgl

if __name__ == "__main__":
    sgl.set_default_backend(sgl.LiteLLM("openai/gpt-4o-mini"))
    programs.show_chat()

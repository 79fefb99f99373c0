"""A conversation with a chat model of OpenAI. Needs OPENAI_API_KEY and the extra `openai`."""

from __future__ import annotations

import programs

import workbench as sgl

if __name__ == "__main__":
    sgl.set_default_backend(sgl.OpenAI("gpt-4o-mini"))
    programs.show_chat()

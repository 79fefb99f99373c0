"""Text of a completion model of OpenAI. Needs OPENAI_API_KEY and the extra `openai`."""

from __future__ import annotations

import programs

import workbench as sgl

if __name__ == "__main__":
    sgl.set_default_backend(sgl.OpenAI("gpt-3.5-turbo-instruct"))
    programs.show_complete()

"""Text of a Gemini model, asked for in one message. Needs GOOGLE_API_KEY or a project, and the extra `vertexai`."""

from __future__ import annotations

import programs

import workbench as sgl

if __name__ == "__main__":
    sgl.set_default_backend(sgl.VertexAI("gemini-2.5-flash"))
    programs.show_complete()

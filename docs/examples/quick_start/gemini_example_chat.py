"""A conversation with a Gemini model. Needs GOOGLE_API_KEY, or a project (GOOGLE_CLOUD_PROJECT), and the extra `vertexai`."""

from __future__ import annotations

import programs

import workbench as sgl

if __name__ == "__main__":
    sgl.set_default_backend(sgl.VertexAI("gemini-2.5-flash"))
    programs.show_chat()

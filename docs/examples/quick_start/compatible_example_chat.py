"""A conversation with a service that speaks OpenAI's API (Together, OpenRouter, a server of your own).

Needs its address, the name of a model there and its key in SERVICE_URL, SERVICE_MODEL and SERVICE_API_KEY, and the extra
`openai`.
"""

from __future__ import annotations

import os

import programs

import workbench as sgl

if __name__ == "__main__":
    backend = sgl.OpenAI(
        model_name=os.environ["SERVICE_MODEL"],
        base_url=os.environ["SERVICE_URL"],
        api_key=os.environ.get("SERVICE_API_KEY"),
    )
    sgl.set_default_backend(backend)
    programs.show_chat()

"""A conversation with a deployment of Azure OpenAI.

Needs AZURE_OPENAI_API_KEY, AZURE_OPENAI_ENDPOINT, the deployment's name in AZURE_OPENAI_DEPLOYMENT, and the extra `openai`.
"""

from __future__ import annotations

import os

import programs

import workbench as sgl

if __name__ == "__main__":
    backend = sgl.OpenAI(
        model_name=os.environ["AZURE_OPENAI_DEPLOYMENT"],
        api_version="2024-10-21",
        azure_endpoint=os.environ["AZURE_OPENAI_ENDPOINT"],
        api_key=os.environ["AZURE_OPENAI_API_KEY"],
        is_azure=True,
    )
    sgl.set_default_backend(backend)
    programs.show_chat()

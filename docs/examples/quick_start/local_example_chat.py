"""A conversation on an engine in this process: python docs/examples/quick_start/local_example_chat.py"""

from __future__ import annotations

import programs

import workbench as sgl

if __name__ == "__main__":
    runtime = sgl.Runtime(model_path="smollm2-135m", tp_size=1)
    sgl.set_default_backend(runtime)
    programs.show_chat()
    runtime.shutdown()

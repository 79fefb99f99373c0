"""Custom logit processors: Python code that a request brings along to edit the logits of its rows.

Such code runs inside the engine with all of the engine's rights: it can read files, open connections and stop the
process. So it is refused unless the engine was started with `enable_custom_logit_processor=True`. It travels as
JSON, with an import path or source code.
"""

from workbench.logit_processor.base import CustomLogitProcessor
from workbench.logit_processor.load import load_processor

__all__ = ["CustomLogitProcessor", "load_processor"]

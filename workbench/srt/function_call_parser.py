"""`from workbench.srt.function_call_parser import FunctionCallParser`."""

from workbench.tool_calls.detectors import (
    TOOLS_TAG_LIST,
    BaseFormatDetector,
    FunctionCallParser,
    Llama32Detector,
    MistralDetector,
    MultiFormatParser,
    Qwen25Detector,
    StreamingParseResult,
    ToolCallItem,
)

__all__ = [
    "TOOLS_TAG_LIST", "BaseFormatDetector", "FunctionCallParser", "Llama32Detector", "MistralDetector", "MultiFormatParser",
    "Qwen25Detector", "StreamingParseResult", "ToolCallItem",
]  # fmt: skip

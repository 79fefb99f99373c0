"""`from workbench.srt.sampling.custom_logit_processor import CustomLogitProcessor`."""

from workbench.logit_processor import CustomLogitProcessor

__all__ = ["CustomLogitProcessor"]

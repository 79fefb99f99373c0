"""The time of one request: its spans, the reasons it waited for, the sentence and the waterfall."""

"""See `workbench.srt`."""

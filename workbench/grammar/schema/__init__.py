"""JSON Schema as forms, from which a grammar can be written."""

"""JSON Schema: what a schema says, as forms that a grammar can be written from."""

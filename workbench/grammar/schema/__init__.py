"""JSON Schema: schemas as forms that a grammar can be written from."""

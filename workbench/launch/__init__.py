"""From `ServerArgs` to a running engine: the one room that names concrete classes. Every "auto" is settled here."""

"""The KV map: the owner of each page."""

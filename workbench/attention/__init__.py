"""Attention over paged K/V: one contract (`base`), a readable oracle (`torch_ref`), the fast backend (`torch_fast`)."""

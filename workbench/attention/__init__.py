"""Attention over paged K/V: one interface, a readable oracle (`torch_ref`) and the fast backend (`torch_fast`)."""

"""Pictures and videos of prompts: reading, processing, and their places among the tokens. No torch of its own."""

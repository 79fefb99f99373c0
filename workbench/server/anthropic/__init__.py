"""The routes of Anthropic's API, in front of the same conversations as OpenAI's."""

"""The routes of Ollama's API, for tools that speak no other."""

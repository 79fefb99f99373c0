"""The HTTP server: one process with the routes of several APIs, in front of an engine in a child process or in this one."""

"""The engine in a child process: its client, its messages and the child's own main."""

"""The engine in a child process: the parent's client, the messages, the channel they take, and the child's own main."""

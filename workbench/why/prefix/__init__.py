"""Why a prompt was not reused: the reasons in words, the answer for one prompt, and the journal of evictions."""

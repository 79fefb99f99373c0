"""Files and batches of OpenAI's API: requests in a file, answered in the background, whatever happens to the server meanwhile."""

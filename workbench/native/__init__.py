"""The reference's native request and result shapes, which the API, the language backends and the server share."""

"""Import paths of existing programs; each module here only points to where the thing is."""

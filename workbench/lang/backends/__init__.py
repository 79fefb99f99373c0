"""The backends of programs: one file each, all of them subclasses of `workbench.lang.backends.base.Backend`."""

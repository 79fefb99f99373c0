"""Where programs run: one file per backend, all of them a `workbench.lang.backends.base.Backend`."""

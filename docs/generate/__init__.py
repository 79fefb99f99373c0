"""The pages that are made from the code, so that they cannot drift from it.

`conf.py` has them written when the site is built; `python docs/generate` writes the list of models, which is read beside the
code.
"""

"""Constraints on generated text: the specification, its form compiled for a vocabulary, and the matcher of one sequence."""

from workbench.grammar.compiler import GrammarCompiler, Options, compile_grammar
from workbench.grammar.matcher import CompiledGrammar, Matcher, TokenRejected
from workbench.grammar.pool import Limits
from workbench.grammar.vocabulary import Vocabulary

__all__ = [
    "CompiledGrammar", "GrammarCompiler", "Limits", "Matcher", "Options", "TokenRejected", "Vocabulary", "compile_grammar",
]  # fmt: skip

"""Constraints on generated text: what it must look like, that compiled for a vocabulary, one sequence's position in it."""

from workbench.grammar.cache import compile_grammar
from workbench.grammar.matcher import CompiledGrammar, Matcher, TokenRejected
from workbench.grammar.vocabulary import Vocabulary

__all__ = ["CompiledGrammar", "Matcher", "TokenRejected", "Vocabulary", "compile_grammar"]

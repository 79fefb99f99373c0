"""Fifty grammars in GGML BNF for the corpus test, and a converter to the notation of the `lark` package, which judges.

The converter splits literals into characters, so that lark's parser stops at the exact character and not at a token.
"""

# ruff: noqa: E501  (a table of data)
from __future__ import annotations

import re

_TOKEN = re.compile(
    r'(?P<comment>#[^\n]*)|(?P<literal>"(?:\\.|[^"\\])*")|(?P<set>\[(?:\\.|[^\]\\])*\])|(?P<define>::=)'
    r"|(?P<count>\{\d*,?\d*\})|(?P<name>[A-Za-z_][\w-]*)|(?P<other>.)",
    re.DOTALL,
)
_CHAR = re.compile(r"\\x..|\\.|.", re.DOTALL)


def to_lark(grammar: str) -> str:
    return "".join(_spelled(found.lastgroup or "", found[0]) for found in _TOKEN.finditer(grammar))


def _spelled(kind: str, text: str) -> str:
    if kind == "comment":
        return ""
    if kind == "literal":
        return "(" + " ".join(f'"{char}"' for char in _CHAR.findall(text[1:-1])) + ")" if text != '""' else "()"
    if kind == "set":
        return "/" + text.replace("/", "\\/") + "/"
    if kind == "define":
        return ":"
    if kind == "count":
        low, comma, high = re.fullmatch(r"\{(\d*)(,?)(\d*)\}", text).groups()
        return f"~{low or 0}..{high}" if comma else f"~{low}"
    return "r_" + text.replace("-", "_").lower() if kind == "name" else text


GRAMMARS = [
    'root ::= "Hello" | "Hi" | "Hey"', 'root ::= [0-9]', 'root ::= [a-z]+ "!"', 'root ::= "a"? "b"', 'root ::= ("ab" | "cd"){2}',
    'root ::= [a-c]{1,3} "." [0-9]{2}', 'root ::= "(" root ")" | "x"', 'root ::= "[" (item ("," item)*)? "]"\nitem ::= [0-9] | "-"',
    'root ::= expr\nexpr ::= term (("+" | "-") term)*\nterm ::= factor (("*" | "/") factor)*\nfactor ::= [0-9] | "(" expr ")"',
    'root ::= greeting (" " name)? "."\ngreeting ::= "Hello" | "Hi"\nname ::= [A-Z] [a-z]{1,6}',
    'root ::= line{1,3}\nline ::= [a-z]{1,5} "=" [0-9]{1,3} "\\n"', 'root ::= "yes" | "no" | "maybe" ("!" | "?")',
    'root ::= [^\\n"]{1,6}', 'root ::= "\\"" [^"\\\\]{0,8} "\\""', 'root ::= ws "a" ws\nws ::= [ \\t]{0,2}',
    'root ::= day ", " month\nday ::= "Mon" | "Tue" | "Wed"\nmonth ::= "Jan" | "Feb"', 'root ::= a\na ::= b "x"\nb ::= c | c c\nc ::= "y"',
    'root ::= "{" pair ("," pair){0,2} "}"\npair ::= key ":" value\nkey ::= "\\"" [a-z]{1,4} "\\""\nvalue ::= [0-9]{1,3} | key',
    'root ::= ("a" | "aa"){1,3}', 'root ::= "<" tag ">" text "</" tag ">"\ntag ::= [a-z]{1,3}\ntext ::= [^<>]{0,8}',
    'root ::= even\neven ::= "" | "a" odd\nodd ::= "a" even', 'root ::= s "."\ns ::= "a" s "b" | "ab"', 'root ::= "a"* "b"* "c"',
    'root ::= [A-Z] [a-z]{0,7} (" " [A-Z] [a-z]{0,7}){0,2}', 'root ::= "é" | "漢字" | "ü"{2}', 'root ::= [é-ü]{1,3} "!"',
    'root ::= cmd (" " arg){0,3}\ncmd ::= "ls" | "cat" | "rm"\narg ::= "-" [a-z] | [a-z]{1,4} ".txt"',
    'root ::= "SELECT " cols " FROM " [a-z]{1,5} where?\ncols ::= "*" | [a-z]{1,4} ("," [a-z]{1,4}){0,2}\nwhere ::= " WHERE " [a-z] "=" [0-9]',
    'root ::= move{1,4}\nmove ::= [a-h] [1-8] ("x" | "-") [a-h] [1-8] " "', 'root ::= num ("." num){3}\nnum ::= [1-9] [0-9]? | "0"',
    'root ::= "if " cond ":" stmt\ncond ::= [a-z] (" and " [a-z]){0,2}\nstmt ::= "pass" | "return " [a-z0-9]',
    'root ::= list\nlist ::= "()" | "(" list{1,2} ")"', 'root ::= "- " [a-z ]{1,4} ("\\n- " [a-z ]{1,4}){0,3}',
    'root ::= "#" [0-9a-f]{6} | "rgb(" byte "," byte "," byte ")"\nbyte ::= [0-9]{1,3}', 'root ::= [+-]? [0-9]+ ("e" [+-]? [0-9]{1,2})?',
    'root ::= "A" | "B" root', 'root ::= root "a" | "b"', 'root ::= "x" ("," "x")* ";" ', 'root ::= q{2,4}\nq ::= "?" | "!"',
    'root ::= url\nurl ::= "http" "s"? "://" host path?\nhost ::= [a-z]{1,5} ("." [a-z]{2,3}){1,2}\npath ::= ("/" [a-z0-9]{1,4}){1,3}',
    'root ::= obj\nobj ::= "{" (str ":" val ("," str ":" val)?)? "}"\nval ::= obj | str | [0-9]\nstr ::= "\\"" [a-z]{0,3} "\\""',
    'root ::= verse{2}\nverse ::= [A-Z] [a-z ,]{3,20} "\\n"', 'root ::= bit{8}\nbit ::= "0" | "1"', 'root ::= [^a]{2} "a"',
    'root ::= roman\nroman ::= "M"{0,3} ("C"{0,3} | "D") ("X"{0,3} | "L") ("I"{1,3} | "V")', 'root ::= "a" (("b" | "c") "d")+ "e"?',
    'root ::= palin\npalin ::= "a" palin "a" | "b" palin "b" | "c"', '# note\nroot ::= one | two # more\none ::= "1"\ntwo ::= "2" one?',
    'root ::= rule-a rule-b\nrule-a ::= "a" | ""\nrule-b ::= "b"', 'root ::= "tab\\t" | "slash\\\\" | "quote\\""', 'root ::= [\\]\\-x]{1,4}',
    'root ::= block\nblock ::= "begin " (stmt "; "){0,3} "end"\nstmt ::= [a-z] " := " [0-9] | block',
]  # fmt: skip

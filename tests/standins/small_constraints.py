"""A pattern, a schema and a grammar with every construct that places and masks are tested on."""

from __future__ import annotations

import json

from workbench.types import GrammarSpec

IP = r"((25[0-5]|2[0-4]\d|[01]?\d\d?)\.){3}(25[0-5]|2[0-4]\d|[01]?\d\d?)"
PET = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "kind": {"enum": ["cat", "dog"]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1, "maxItems": 2},
        "home": {"type": "object", "properties": {"zip code": {"type": "integer"}}, "required": ["zip code"]},
    },
    "required": ["name", "kind", "tags", "home"],
    "$defs": {"tag": {"type": "integer", "minimum": 3, "maximum": 5}},
}
EBNF = 'root ::= greeting (" " name)? "."\ngreeting ::= "ab" | "ba"\nname ::= [A-C] [a-z]+  # one word\n'
SPECS = {
    "regex": GrammarSpec("regex", IP),
    "words": GrammarSpec("regex", '(ab|ba){1,3}"é?漢'),
    "wide": GrammarSpec("regex", "[^a漢]{2}b"),
    "json": GrammarSpec("json_schema", json.dumps(PET)),
    "ebnf": GrammarSpec("ebnf", EBNF),
}

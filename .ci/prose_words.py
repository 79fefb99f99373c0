"""The word lists of `prose.py`. A false alarm is mended here."""

from __future__ import annotations

import re

OPENERS = {"what", "where", "who", "how", "whether", "of", "whom", "whose", "which"}
"""Words that may not open a docstring or a comment: the subject comes first."""

PAGE_OPENERS = {"what", "who", "whether", "whom", "whose"}
"""Words that may not open a sentence of a page; "What you see" may."""

NOT_VERBS = set(
    """across alas always analysis as besides bias class its less minus perhaps plus process progress status this thus
    towards unless""".split()
)
"""Words in -s that are never verbs."""

NOUNS = set(
    """arguments arrays bits bytes cells characters children classes clauses columns constraints continuations details
    edges entries errors events expressions facts fields files folders frequencies grammars heads hours ids indexes
    items keywords kinds languages layers lengths lists log-probabilities logits loops makers medians members messages
    microseconds milliseconds minutes neighbours nodes options pairs panels parents paths points positions prefixes
    prompts ranges reasons rows seconds segments sentences sequences series settings sizes slots snapshots sums
    systems tables tails tensors texts thoughts threads titles tokens totals trees turns units values variables
    versions ways widths words workers""".split()
)
"""Plural nouns that are never verbs here."""

NOUNS_OR_VERBS = set(
    """answers batches blocks calls chains changes chunks copies cores counts cuts ends forms fragments gaps groups
    holds keys leaves levels lines links marks masks matches means measures models moves names numbers objects offsets
    orders pages parts patterns pieces places plans processes programs queries questions queues records requests
    results returns rounds rules runs samples scales scores sets shapes shares sorts spans starts steps stops strings
    tests times types users uses views walks weights""".split()
)
"""Words that are nouns where one of `AFTER_NOUNS` follows ("Names of places"), and verbs elsewhere ("Names the place")."""

AFTER_NOUNS = {"of", "that", "which", "whose", "are", "were", "have", "may", "before"}

FIELD_VERBS = set(
    """answers appends asks builds checks computes creates decides does draws finds gives has holds is keeps knows loads
    looks makes raises reads receives rises runs says sends shows starts stops takes tells turns waits writes yields""".split()
)
"""Verbs that do not open the docstring of a property, a field or a constant: it begins with its noun."""

HUMANS = set(
    """anyone author authors developer developers engineer engineers everyone maintainer maintainers newcomer newcomers
    people person reader readers student students user users we you""".split()
)

DOCUMENTS = set(
    """chapter code comment config docs docstring documentation file files header json label licence manifest md message
    metadata name note page pages paper papers pyproject rfc rule rules section sentence specification standard table
    text toml which""".split()
)
"""Things in writing: only they say something."""

PEOPLE = {
    "tells": "shows, reports, returns",
    "told": "reported, given",
    "hears": "receives",
    "wants": "needs",
    "knows": "has, holds, supports",
    "asks": "requests, calls, queries",
    "says": "states, reports, returns",
    "thinks": "computes",
    "believes": "assumes",
    "likes": "prefers",
    "remembers": "keeps",
    "forgets": "drops",
    "nobody": "nothing, no caller, no request",
    "somebody": "a caller, a request",
    "someone": "a user, a caller",
    "anybody": "any caller",
    "everybody": "every caller",
    "deaf": "closed",
    "who": "which, that",
    "whom": "which",
}
"""Words for people, and words for the programs that they are said of."""

OLD = {
    "anew": "again",
    "whence": "from which",
    "thereof": "of it",
    "wherein": "in which",
    "whereof": "of which",
    "lest": "so that ... not",
    "whilst": "while",
    "amongst": "among",
    "hitherto": "so far",
    "henceforth": "from now on",
    "therein": "in it",
    "thither": "there",
}
"""Old or rare words and plain ones."""

RIDDLES = [
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (r"\bwhat became of\b", "name the result"),
        (r"\bof (?:one|those|what|such) that (?:is|was|has|are)\b", "name the thing"),
        (r"\b(?:so|such) a one\b", "name the thing"),
        (r"\bone (?:sees|types|says|reads|asks|wants|knows|thinks)\b", '"the user", or the passive'),
        (r"\bone who\b", '"a caller that", "a request that"'),
        (r"\bto so many\b|\bfor so many\b|\bonly so many\b", "give the number's name"),
        (r"\bmeans? nothing so\b", "say what is wrong"),
        (r"\b(?:is|are) of no (?:more )?use\b", '"is invalid"'),
        (r"\bwhat of (?:it|them)\b", '"the parts that"'),
        (r"\bis in the way\b", '"blocks"'),
        (r"\bwhere (?:it|they|one) (?:is|are) none\b", "name the case"),
        (r"\bis not to be (?:had|known)\b", '"is unknown"'),
        (r"\bbut for (?:what|those)\b", '"except"'),
        (r"\bnone the less\b", '"still"'),
    )
]
"""Turns of phrase that must be decoded, each with what to write in its place."""

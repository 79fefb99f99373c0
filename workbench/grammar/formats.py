"""Regular expressions for the `format` of a JSON Schema, over the whole decoded text.

Each accepts only what both its standard and the format checker of `jsonschema` accept, and as much of that as an automaton of
some hundred states can. `NARROWER` lists the valid values that are never generated. A format that is not listed is an annotation:
`int32`, `double`, `byte`, `password`, `color`, `url` and others that the standard does not define.

The expressions use literals, classes, groups, alternatives and counts only.
"""

from __future__ import annotations

HEX = "[0-9a-fA-F]"
_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DAY = "(?:0[1-9]|[12][0-9])"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:{_DAY}|3[01])|(?:0[469]|11)-(?:{_DAY}|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
_HOUR_MINUTE = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_HOUR_MINUTE}:[0-5][0-9](?:\.[0-9]{{1,15}})?(?:[Zz]|[+-]{_HOUR_MINUTE})"

_TIME_PART = "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_DATE_PART = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
_DURATION = f"P(?:{_DATE_PART}(?:{_TIME_PART})?|{_TIME_PART}|[0-9]+W)"

_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"


def _ipv6() -> str:
    """Returns eight groups, or `::` for one or more that are missing; the last two may be written as an IPv4 address."""
    group = f"{HEX}{{1,4}}"
    forms = [f"(?:{group}:){{6}}(?:{group}:{group}|{_IPV4})"]
    for num_before in range(8):
        most = 7 - num_before
        after = [f"(?:{group}:){{0,{most - 1}}}{group}"] * (most > 0) + [f"(?:{group}:){{0,{most - 2}}}{_IPV4}"] * (most > 1)
        begin = f"(?:{group}:){{{num_before}}}:" if num_before else "::"
        forms.append(begin + (f"(?:{'|'.join(after)})?" if after else ""))
    return f"(?:{'|'.join(forms)})"


_IPV6 = _ipv6()


def _label(most: int, letters: str = "a-zA-Z") -> str:
    """Returns letters, digits and inner hyphens, but no `--` in the third and fourth place, which marks an encoded name."""
    end, any_ = f"[{letters}0-9]", f"[{letters}0-9-]"
    return f"{end}(?:{any_}{{0,2}}{end}|{any_}(?:{end}{any_}|-{end}){any_}{{0,{most - 5}}}{end})?"


# No automaton counts both the labels' characters and all of them (253) and stays small. Either few labels or shorter ones.
_HOST = rf"(?:(?:{_label(63)}\.){{0,2}}{_label(63)}|{_label(63)}(?:\.{_label(30)}){{0,6}})"
_MAIL_HOST = rf"{_label(63)}(?:\.{_label(30)}){{0,4}}"
# Letters of scripts written from left to right that IDNA2008 takes everywhere in a label, and that no mark composes with.
_LETTERS = "a-zß-öø-ÿāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįıĵķĺļľłńņňŋōŏőœŕŗřśŝşšţťŧũūŭůűųŵŷźżžάέήία-ώа-џぁ-ゖァ-ヺー一-鿋가-힣"
_IDN_LABEL = _label(14, _LETTERS)
_IDN_HOST = rf"(?:{_HOST}|{_IDN_LABEL}(?:[.。．｡]{_IDN_LABEL}){{0,3}})"

_ATOM = r"!#$%&'*+/=?^_`{|}~a-zA-Z0-9\-"
_BEYOND_ASCII = "\u0080-\ud7ff\ue000-\U0010ffff"


def _local(beyond: str = "") -> str:
    """Returns the part before the @: up to 64 characters, in one piece or in shorter ones with dots between them."""
    atom = f"[{_ATOM}{beyond}]"
    dotted = rf"{atom}{{1,20}}\.{atom}{{1,43}}|(?:{atom}{{1,20}}\.){{2}}{atom}{{1,22}}|(?:{atom}{{1,12}}\.){{1,4}}{atom}{{1,12}}"
    quoted = rf'"(?:[ !#-\[\]-~{beyond}]|\\[ -~]){{0,31}}"'
    return f"(?:{atom}{{1,64}}|{dotted}|{quoted})"


_LITERAL_HOST = rf"\[(?:{_IPV4}|IPv6:{_IPV6})\]"
_EMAIL = f"{_local()}@(?:{_MAIL_HOST}|{_LITERAL_HOST})"
_IDN_EMAIL = f"{_local(_BEYOND_ASCII)}@(?:{_MAIL_HOST}|{_IDN_LABEL}(?:\\.{_IDN_LABEL}){{0,3}})"

_ENCODED, _SCHEME = f"%{HEX}{{2}}", "[a-zA-Z][a-zA-Z0-9+.-]*"
_PLAIN = r"a-zA-Z0-9._~!$&'()*+,;=\-"


def _uri(address: str, beyond: str = "", private: str = "") -> tuple[str, str]:
    """Returns expressions of RFC 3986 (with a scheme, without one too), and with the characters `beyond` ASCII of RFC 3987."""

    def some(more: str = "") -> str:
        return f"(?:[{_PLAIN}{beyond}{more}]|{_ENCODED})"

    host = rf"(?:\[(?:{address}|v{HEX}+\.[{_PLAIN}:]+)\]|{some()}*)"
    authority = f"(?:{some(':')}*@)?{host}(?::[0-9]*)?"
    part, first = some(":@"), some("@")
    rest = f"(?:/{part}*)*"
    rooted = f"//{authority}{rest}|/(?:{part}+{rest})?"
    query, fragment = f"(?:\\?{some(f':@/?{private}')}*)?", f"(?:#{some(':@/?')}*)?"
    absolute = f"{_SCHEME}:(?:{rooted}|{part}+{rest}|){query}{fragment}"
    return absolute, f"(?:{absolute}|(?:{rooted}|{first}+{rest}|){query}{fragment})"


_BEYOND_URI, _PRIVATE = "\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef", "\ue000-\uf8ff"
_URI, _URI_REFERENCE = _uri(_IPV6)
_IRI, _IRI_REFERENCE = _uri(f"(?:{HEX}{{1,4}}:){{7}}{HEX}{{1,4}}", _BEYOND_URI, _PRIVATE)

# A plane of Unicode ends with two codes that are no characters.
_FURTHER_PLANES = "".join(
    f"{chr(plane << 16 | (0x1000 if plane == 14 else 0))}-{chr(plane << 16 | 0xFFFD)}" for plane in range(1, 17)
)
_VARIABLE = rf"[a-zA-Z0-9_](?:\.?(?:[a-zA-Z0-9_]|{_ENCODED}))*(?::[1-9][0-9]{{0,2}}|\*)?"
_EXPRESSION = rf"\{{[+#./;?&]?{_VARIABLE}(?:,{_VARIABLE})*\}}"
_TEMPLATE = rf"(?:[!#$&-;=?-\[\]_a-z~{_BEYOND_URI}{_PRIVATE}{_FURTHER_PLANES}]|{_ENCODED}|{_EXPRESSION})*"

_POINTER = "(?:/(?:[^~/]|~[01])*)*"

_DIGITS = "0123456789"


def _regex() -> str:
    """Returns what is a regular expression to ECMAScript and to Python alike, with groups nested up to `DEPTH` deep."""
    escape = rf"\\(?:[dDwWsStnrfv!-/:-@\[-`{{-~]|x{HEX}{{2}}|u{HEX}{{4}})"
    ranges = "|".join([*(f"{low}-[{low}-9]" for low in _DIGITS), "a-[a-z]", "A-[A-Z]"])
    members = rf"\[\^?(?:-|-?(?:[^\[\]\\^-]|{escape}|(?:{ranges})-?)+-?)\]"
    one = [f"{low},[{low}-9]" for low in _DIGITS]  # from a smaller to a larger number of one digit, and of two
    two = [f"{low}[0-9],[{int(low) + 1}-9][0-9]" for low in _DIGITS[1:-1]] + [f"1{low},1[{low}-9]" for low in _DIGITS]
    pairs = "|".join([*one, *two, "[0-9],[1-9][0-9]{1,2}", "[1-9][0-9],[1-9][0-9]{2}"])
    count = rf"[*+?]|\{{(?:[0-9]{{1,3}},?|{pairs})\}}"
    sequence = ""
    for depth in range(DEPTH + 1):
        group = rf"|\((?:\?[:=!])?{sequence}\)" if depth else ""
        sequence = rf"(?:[$^|]|\\[bB]|(?:[^\\^$.*+?()\[\]{{}}|]|\.|{escape}|{members}{group})(?:(?:{count})\??)?)*"
    return sequence


DEPTH = 4
FORMATS: dict[str, str] = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}[Tt]{_TIME}",
    "duration": _DURATION,
    "email": _EMAIL,
    "idn-email": _IDN_EMAIL,
    "hostname": _HOST,
    "idn-hostname": _IDN_HOST,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "uri": _URI,
    "uri-reference": _URI_REFERENCE,
    "iri": _IRI,
    "iri-reference": _IRI_REFERENCE,
    "uri-template": _TEMPLATE,
    "uuid": f"{HEX}{{8}}(?:-{HEX}{{4}}){{3}}-{HEX}{{12}}",
    "json-pointer": _POINTER,
    "relative-json-pointer": f"(?:0|[1-9]+0?)(?:#|{_POINTER})",
    "regex": _regex(),
}
NARROWER: dict[str, str] = {
    "date": "the year 0000",
    "time": "leap seconds, more than 15 digits of a second",
    "date-time": "the year 0000, leap seconds, more than 15 digits of a second",
    "email": "a local part of more than five pieces, or of longer pieces (two: 20 and 43 characters, three: 20, 20 and 22, "
    "more: 12 each); a host of more than five labels, or of more than 30 characters in a label after the first",
    "idn-email": "as for email and idn-hostname; addresses in brackets",
    "hostname": "labels with -- in the third and fourth place (xn--…); more than seven labels; where there are more than three, "
    "more than 30 characters in a label after the first",
    "idn-hostname": "as for hostname; scripts other than Latin, Greek, Cyrillic, Kana, Han and Hangul, their rare letters and "
    "marks; beyond ASCII more than four labels, or 14 characters in one",
    "iri": "characters beyond U+FFFF, addresses of version 6 with ::",
    "iri-reference": "characters beyond U+FFFF, addresses of version 6 with ::",
    "uri": "an IPvFuture address that begins with a capital V",
    "uri-reference": "an IPvFuture address that begins with a capital V",
    "uri-template": "names of variables that begin with %, a prefix of four digits",
    "relative-json-pointer": "a number with a 0 before its last digit (100, 101), index manipulation (0+1)",
    "regex": "more than four groups in each other, names, references, lookbehind, braces without \\, ranges from other letters "
    "than a and A, some counts of two large numbers",
}
"""Valid values that each format never generates. Formats that are missing here are complete."""

"""Regular expressions for typed generations, at the place from which programs of the reference import them."""

REGEX_INT = r"[-+]?(0|[1-9][0-9]{0,17})[ \n]*"
REGEX_FLOAT = r"[-+]?(0|[1-9][0-9]{0,15})(\.[0-9]{1,16})?[ \n]*"
REGEX_BOOL = r"(True|False)"
REGEX_STR = r'"[^"\\\r\n\x00]*"'

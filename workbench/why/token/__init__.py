"""Why a token may or may not come at one place of a constrained text, and the mask there."""

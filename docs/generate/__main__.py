"""Writes the page that is read on its own, beside the code; the others are written where the site is built."""

import datetime
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
sys.path[0] = str(DOCS)  # in the place of this folder, whose files would hide modules of Python

from generate.models import dated_models_page  # noqa: E402

(DOCS / "supported_models.md").write_text(dated_models_page(DOCS.parent, datetime.date.today().isoformat()), encoding="utf-8")

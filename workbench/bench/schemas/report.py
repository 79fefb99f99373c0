"""Tables of what was measured, the reasons behind them, and whether the goals are met."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from workbench.bench.report import markdown_table
from workbench.bench.schemas.measure import NARROWED, WAYS, Row
from workbench.bench.schemas.sets import GOAL_DRAFTS

DOCUMENTED = (*WAYS, *NARROWED)
"""Valid instances that are not taken by a rule that the documentation states."""
NUM_NAMES = 4


def report(rows: Sequence[Row]) -> str:
    bench = [row for row in rows if not row["of_suite"]]
    suite = [row for row in rows if row["of_suite"]]
    parts = [bench_table(bench), family_table(bench)] if bench else []
    parts += [suite_table(suite)] if suite else []
    parts += [lists(by_reader) for by_reader in _by(rows, "reader").values()]
    return "\n\n".join(parts) + "\n"


def bench_table(rows: Sequence[Row]) -> str:
    head = [
        "reader", "schemas", "taken", "and right", "right by rules", "valid rejected", "by rules", "invalid accepted",
        "draws", "invalid", "compile p50 / p99 / max, ms", "a user waits, ms", "mask p50 / p99 / max, µs",
    ]  # fmt: skip
    lines = []
    for reader, own in _by(rows, "reader").items():
        taken, found = [row for row in own if row["taken"]], Counter(map(verdict, own))
        num_valid, num_invalid = _total(taken, "valid"), _total(taken, "invalid")
        others, ruled = _rejected(taken)
        accepted = sum(len(row.get("accepted", ())) for row in taken)
        compiles = [row["compile_s"] * 1e3 for row in taken]
        waits = [row["wait_s"] * 1e3 for row in own]
        masks = [us for row in taken for us in row.get("masks_us", ())]
        lines.append([
            reader, f"{len(own):,}", _share(len(taken), len(own)),
            _share(found["right"], len(own)), _share(found["right by rules"], len(own)),
            f"{others:,} of {num_valid:,}", f"{ruled:,}", f"{accepted:,} of {num_invalid:,}",
            f"{_total(taken, 'draws'):,}", f"{sum(len(row.get('bad', ())) for row in taken):,}",
            _spread(compiles, 1), _spread(waits, 1), _spread(masks, 0),
        ])  # fmt: skip
    return markdown_table(head, lines)


def family_table(rows: Sequence[Row]) -> str:
    readers = list(_by(rows, "reader"))
    lines = []
    for family, own in sorted(_by(rows, "family").items()):
        cells = [family, f"{len({row['name'] for row in own}):,}"]
        for reader in readers:
            mine = [row for row in own if row["reader"] == reader]
            right = sum(verdict(row) == "right" for row in mine)
            cells.append(f"{_share(sum(row['taken'] for row in mine), len(mine))} / {_share(right, len(mine))}")
        lines.append(cells)
    return markdown_table(["family", "schemas", *(f"{reader}: taken / and right" for reader in readers)], lines)


def suite_table(rows: Sequence[Row]) -> str:
    lines = []
    for reader, own in _by(rows, "reader").items():
        for draft, groups in sorted(_by(own, "family").items()):
            found = Counter(map(verdict, groups))
            refused = found["refused"] + found["refused rightly"]
            lines.append([
                reader, draft, str(len(groups)), _share(len(groups) - refused, len(groups)),
                _share(found["right"], len(groups)), _share(found["right by rules"], len(groups)),
                str(found["refused rightly"]), str(found["wrong"]),
            ])  # fmt: skip
    head = ["reader", "draft", "groups", "taken", "and right", "right by rules", "refused rightly", "wrong"]
    return markdown_table(head, lines)


def verdict(row: Row) -> str:
    """Returns `refused`, `wrong`, `right`, or `right by rules`: documented rules keep some valid values from being written."""
    if not row["taken"]:
        return "refused rightly" if "some text satisfies" in row["why"] and not row.get("num_valid") else "refused"
    if "cut" in row and not (row.get("bad") or row.get("accepted")):
        return "cut"
    if _rejected([row])[0] or row["accepted"] or row.get("bad"):
        return "wrong"
    return "right by rules" if any(one["why"] in NARROWED for one in row["rejected"]) else "right"


def goals(rows: Sequence[Row]) -> list[str]:
    """Returns the goals that are missed, each with the measured value."""
    bench = [row for row in rows if not row["of_suite"]]
    taken = [row for row in bench if row["taken"]]
    suite = [row for row in rows if row["of_suite"] and row["family"] in GOAL_DRAFTS]
    compiles = [row["compile_s"] * 1e3 for row in taken]
    masks = [us / 1e3 for row in taken for us in row.get("masks_us", ())]
    others, num_bad = _rejected(taken)[0], sum(len(row.get("bad", ())) for row in rows)
    right = sum(verdict(row) in ("right", "right by rules", "refused rightly") for row in suite)
    met = [
        (not bench or len(taken) >= 0.97 * len(bench), f"97 % of the schemas taken: {_share(len(taken), len(bench))}"),
        (right >= 0.9 * len(suite), f"90 % of the suite's groups right: {_share(right, len(suite))}"),
        (not num_bad, f"no invalid draw: {num_bad}"),
        (others <= 0.01 * _total(taken, "valid"), f"1 % of valid instances rejected: {others} of {_total(taken, 'valid')}"),
    ]
    if taken:
        met += [
            (quantile(compiles, 0.5) <= 5, f"compile p50 of 5 ms: {quantile(compiles, 0.5):.1f}"),
            (quantile(compiles, 0.99) <= 500, f"compile p99 of 500 ms: {quantile(compiles, 0.99):.0f}"),
            (quantile(masks, 0.99) <= 1, f"mask p99 of 1 ms: {quantile(masks, 0.99):.2f}"),
        ]
    return [goal for is_met, goal in met if not is_met]


def lists(rows: Sequence[Row]) -> str:
    """Returns the reasons of refusals and errors, by count, with some names."""
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        name = row["name"]
        if not row["taken"]:
            groups[f"refused: {reason(row['why'])}"].append(name)
        if "cut" in row:
            groups[f"cut: {row['cut']}"].append(name)
        for one in row.get("rejected", ()):
            groups[f"valid rejected: {one['why']}"].append(name)
        for one in row.get("accepted", ()):
            groups[f"invalid accepted: {_keyword(one['why'])}"].append(name)
        for one in row.get("bad", ()):
            groups[f"invalid draw: {_keyword(one['why'])}"].append(name)
    found = sorted(groups.items(), key=lambda group: (group[0].partition(":")[0], -len(group[1])))
    lines = [[key.replace("|", "\\|"), str(len(names)), ", ".join([*dict.fromkeys(names)][:NUM_NAMES])] for key, names in found]
    return markdown_table([f"{rows[0]['reader']}: what", "count", "for example"], lines)


def reason(why: str) -> str:
    """Returns a message without its place and its values."""
    text = why.splitlines()[0] if why else ""
    text = re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", text)
    text = re.sub(r"^json_schema\S*?(:| is) ", "", text)
    text = re.sub(r"^.*, (?=it must be )", "", text)
    text = re.sub(r"(beside|property|reference) '.*' (?=cannot|without)", r"\1 … ", text)
    return re.sub(r"\d[\d,.]*", "N", text)[:110]


def quantile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def _keyword(why: str) -> str:
    """Returns the keyword of a message: `minimum` of `$.a: minimum: -1 is less than 0`."""
    return why.split(": ")[1] if why.startswith("$") and ": " in why else why[:40]


def _rejected(rows: Iterable[Row]) -> tuple[int, int]:
    """Returns the number of valid instances that were rejected, and of those by documented rules."""
    whys = [one["why"] for row in rows for one in row.get("rejected", ())]
    ruled = sum(why in DOCUMENTED for why in whys)
    return len(whys) - ruled, ruled


def _by(rows: Iterable[Row], key: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[key]].append(row)
    return found


def _total(rows: Iterable[Row], key: str) -> int:
    return sum(row.get(key, 0) for row in rows)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _spread(values: Sequence[float], digits: int) -> str:
    return " / ".join(f"{quantile(values, share):,.{digits}f}" for share in (0.5, 0.99, 1.0))

"""The answer of `Grammar.lint()`: the findings about a constraint, and what compiling it costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from workbench.html.escape import to_html, visible
from workbench.html.parts import duration, lines, plural, size, table
from workbench.types import GrammarSpec
from workbench.why.answer import Answer
from workbench.why.lint.finding import Cost, Finding

HEAD = ("part", "compiles in", "size")


@dataclass(frozen=True, repr=False)
class Lint(Answer):
    """Findings about a constraint, and the cost of compiling it."""

    spec: GrammarSpec
    findings: tuple[Finding, ...]
    costs: tuple[Cost, ...]
    """The costs of compiling: the whole first, then its parts, each on its own."""

    @property
    def sentence(self) -> str:
        kinds = Counter(finding.kind for finding in self.findings)
        listed = ", ".join(f"{number} × {kind}" for kind, number in kinds.items())
        cost = ""
        if self.costs:
            whole = self.costs[0]
            mask = f", a mask takes {whole.mask_s * 1e3:.2f} ms" if whole.mask_s is not None else ""
            cost = f" It compiles in {duration(whole.seconds)} to {size(whole.num_bytes)}{mask}."
        return (f"{plural(len(self.findings), 'warning')}: {listed}." if listed else "Nothing to warn of.") + cost

    def to_text(self) -> str:
        shown = [self.sentence]
        for finding in self.findings:
            shown.append(f"\n{finding.kind}{f' at {finding.where}' if finding.where else ''}: {finding.what}")
            shown += [f"  why  {finding.why}", f"  do   {finding.todo}"]
        if len(self.costs) > 1:
            shown += ["", lines(HEAD, self._costs(), numeric=(1, 2))]
        return visible("\n".join(shown))

    def body(self) -> str:
        found = "".join(
            f"<p><b>{to_html(f.kind)}</b>{f' at <b>{to_html(f.where)}</b>' if f.where else ''}: {to_html(f.what)}<br>"
            f'<span class="wb-soft">why: {to_html(f.why)}<br>do: {to_html(f.todo)}</span></p>'
            for f in self.findings
        )
        costs = table(HEAD, self._costs(), numeric=(1, 2)) if len(self.costs) > 1 else ""
        details = f"<details><summary>What compiling takes, part by part</summary>{costs}</details>" if costs else ""
        return f"<p>{to_html(self.sentence)}</p>{found}{details}"

    def _costs(self) -> list[tuple[str, str, str]]:
        return [(cost.where or "the whole", duration(cost.seconds), size(cost.num_bytes)) for cost in self.costs]

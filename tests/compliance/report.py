"""The table that a run writes: tests/compliance.md.

The law of this file: rows and answers in, text out; equal runs give equal text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.compliance.verdict import Answer, Requirement

HEAD = """# NAT behaviour: what algate does, and what the kernel's NAT does

Written by `pytest -m compliance`: each row went through algate and through nft masquerade (nf_conntrack) in the same
network namespaces, judged by the packets on the wire. Timers are scaled, algate's by `[timeouts]` alone. Rows carry the
number of their requirement: 4787 UDP, 5382 TCP, 5508 ICMP, 7857 updates, 6888 large NATs; S: scenarios, F: firewall and
forwards; 6-A: IPv6 without translation (RFC 6092, 4890), beside nft's ip6 filter; 64: NAT64 (RFC 6146, 7915), which the
kernel hasn't, beside Tayga, which keeps no sessions and gives each host an address; the text says what a row looks for.
`eif`, `adf`, `apdm` behind a number name the profile it selects.

"""


def table(
    rows: Sequence[Requirement],
    algate: Mapping[str, Answer],
    kernel: Mapping[str, Answer],
    tayga: Mapping[str, Answer],
) -> str:
    """The whole document. A missing answer is shown as "not run", but for Tayga's, which has few."""
    lines = ["| row | level | requirement | algate | kernel | Tayga |", "|---|---|---|---|---|---|"]
    for row in rows:
        third = _said(tayga[row.id]) if row.id in tayga else ""
        said = _said(algate.get(row.id), row.excuse), _said(kernel.get(row.id))
        lines.append(f"| {row.id} | {row.level} | {_cell(row.text)} | {said[0]} | {said[1]} | {third} |")
    return HEAD + _summary(rows, algate, kernel) + "\n" + "\n".join(lines) + "\n"


def _said(answer: Answer | None, excuse: str = "") -> str:
    if answer is None:
        return "not run"
    if answer.broken:
        return f"no verdict: {_cell(answer.why)}"
    if answer.yes:
        return f"yes ({_cell(answer.why)})" if answer.why else "yes"
    return f"no, because {_cell(excuse)}" if excuse else f"no: {_cell(answer.why)}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _summary(rows: Sequence[Requirement], algate: Mapping[str, Answer], kernel: Mapping[str, Answer]) -> str:
    lines = ["| level | rows | algate yes | kernel yes |", "|---|---|---|---|"]
    for name, chosen in (
        ("MUST, MUST NOT", [row for row in rows if row.must]),
        ("SHOULD, RECOMMENDED", [row for row in rows if not row.must and row.level != "MAY"]),
        ("MAY", [row for row in rows if row.level == "MAY"]),
    ):
        counts = [sum(one[row.id].yes for row in chosen if row.id in one) for one in (algate, kernel)]
        lines.append(f"| {name} | {len(chosen)} | {counts[0]} | {counts[1]} |")
    return "\n".join(lines) + "\n"

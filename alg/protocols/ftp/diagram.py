"""The dialogue's tables as Markdown, for alg/README.md: `python -m algate.alg.protocols.ftp.diagram`.

The law of this file: it shows what `dialogue` says and knows nothing of its own.
"""

from __future__ import annotations

from enum import IntEnum

from algate.alg.protocols.ftp.dialogue import COMMANDS, ODD, PHASES, REPLIES, TURNS, USUAL, Effect, Kind, Phase


def phases() -> str:
    """For each phase and turn, the phase that follows."""
    rows = ["| phase | turn | next phase |", "| --- | --- | --- |"]
    rows += [
        f"| {_name(phase)} | {_name(turn)} | {_name(then)} |"
        for (phase, turn), then in sorted(PHASES.items())
        if phase is not Phase.OPAQUE
    ]
    return "\n".join(rows)


def replies() -> str:
    """For each command and reply, its effect; other answers have none."""
    rows = ["| command | reply | effect |", "| --- | --- | --- |"]
    cells: dict[tuple[Kind, Effect], list[str]] = {}
    for (kind, reply), effect in sorted(REPLIES.items()):
        cells.setdefault((kind, effect), []).append(_name(reply))
    for (kind, effect), names in cells.items():
        turn = f" ({_name(TURNS[effect])})" if effect in TURNS else ""
        rows.append(f"| {_verbs(kind)} | {', '.join(names)} | {_name(effect)}{turn} |")
    return "\n".join(rows)


def answers() -> str:
    """What may answer a command; any other reply is about something else."""
    rows = ["| command | answered by | seldom by |", "| --- | --- | --- |"]
    shown = [kind for kind in Kind if kind not in (Kind.UNSEEN, Kind.LEFT, Kind.SKIPPED)]
    for kind in shown:
        cells = (", ".join(_name(reply) for reply in sorted(some[kind])) for some in (USUAL, ODD))
        rows.append(f"| {_verbs(kind)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _verbs(kind: Kind) -> str:
    verbs = [verb.decode() for verb, meant in COMMANDS.items() if meant is kind]
    return " ".join(verbs) or _name(kind)


def _name(member: IntEnum) -> str:
    return member.name.lower().replace("_", " ")


if __name__ == "__main__":
    print(phases(), answers(), replies(), sep="\n\n")

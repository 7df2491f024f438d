"""The command `algate`: one table of verbs drives both dispatch and help.

The law of this file: a verb's module is imported when the verb is used, so that --help is quick and needs neither
root nor bcc. `algate.cli.commands.VERB` holds a function with the verb's name or, if the verb has verbs of its own, a
dict VERBS of functions. A function declares its options for typer, raises AlgateError, and returns an exit code or
None. Operators see no traceback unless ALGATE_DEBUG asks for one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import keyword
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from algate.alg.errors import FAILED, USAGE, AlgateError
from algate.alg.wording import nearest
from algate.cli import completion
from algate.cli.output import say
from algate.cli.typed import PlainParameters

VERBS: Mapping[str, str] = {
    "run": "Run the gateway in the foreground.",
    "down": "Detach the gateway from its devices.",
    "status": "Show the daemon, its devices and its key figures.",
    "sessions": "List sessions through the gateway.",
    "mappings": "List inside end points and the public ones they map to.",
    "expectations": "List data connections that are expected.",
    "hosts": "List inside hosts: sessions, ports, rates, limits, refusals.",
    "ports": "Show what is left of the public ports.",
    "forward": "List, add or delete forwards to servers inside.",
    "allow": "List, add or delete services of inside IPv6 hosts that the outside may open.",
    "top": "Watch rates, sessions, drops and events live.",
    "follow": "Print events as they happen.",
    "stats": "Print all counters by metric name.",
    "capture": "Record a control session as a pcapng file.",
    "whose": "Say who was behind a public port.",
    "explain": "Explain why a transfer hangs or was refused.",
    "reload": "Reload the configuration.",
    "upgrade": "Replace the running daemon by what is installed now.",
    "kill": "End sessions by id or by filter.",
    "doctor": "Check this machine, and say how to fix what it lacks.",
    "check": "Check a configuration file, or a gateway's tables.",
    "export": "Write a gateway's sessions to a file.",
    "import": "Make a gateway's state from an export.",
    "help": "Show what algate can do, or the options of one verb.",
    "ha": "Say how two gateways stand, or have the other one lead.",
    "demo": "Run real FTP through the gateway in network namespaces.",
    "bench": "Measure the gateway next to the kernel's NAT and bare forwarding.",
}

UsageError: Any = typer.BadParameter.__mro__[1]  # click's, wherever this version of typer has it

SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


@contextlib.contextmanager
def in_one_line(verb: str = "algate") -> Iterator[None]:
    """What typer would say of wrong usage in four lines."""
    try:
        yield
    except UsageError as error:
        where = getattr(error.ctx, "command_path", verb)
        told = error.format_message().rstrip(".")
        name = getattr(error, "option_name", None)
        known = [word for one in getattr(getattr(error.ctx, "command", None), "params", ()) for word in one.opts]
        if name and "such option" in told:
            import difflib

            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
            told = "; the nearest is ".join((f"no such option: {name}", *near))
        say(f"{where}: {told[:1].lower()}{told[1:]} (`{where} -h` shows all)")
        raise typer.Exit(USAGE) from None


class Verbs(PlainParameters, typer.core.TyperGroup):
    """The group of all verbs; each is built when it is asked for."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """As ever, but what is wrong is one line."""
        with in_one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """The same of a verb's name."""
        with in_one_line():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb, or None."""
        if cmd_name not in VERBS:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = build(cmd_name)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb; for an unknown one, an error that names the nearest."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"no verb {args[0]!a}; the nearest is `{nearest(args[0], VERBS)}`")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The table, without importing a verb."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


class Several(PlainParameters, typer.core.TyperGroup):
    """A verb that has verbs of its own. Alone it is wrong usage, in every version of typer."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Wrong usage if nothing is asked."""
        if not args and not ctx.resilient_parsing:
            ctx.fail(f"{ctx.info_name} what? {', '.join(self.list_commands(ctx))}")
        return super().parse_args(ctx, args)


class Verb(PlainParameters, typer.core.TyperCommand):
    """One verb. Its help shows arguments as they were declared, "[ID]...", without types and braces."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """As ever, but what is wrong is one line."""
        with in_one_line(f"{parent.command_path} {info_name}" if parent else str(info_name)):
            return super().make_context(info_name, args, parent, **extra)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What stands behind the verb in its usage line."""
        return [self.options_metavar or "", *(str(one.metavar) for one in self.params if _is_argument(one))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then options."""
        arguments = [(str(one.metavar), getattr(one, "help", "") or "") for one in self.params if _is_argument(one)]
        options = [one.get_help_record(ctx) for one in self.get_params(ctx) if not _is_argument(one)]
        for title, records in (("Arguments", arguments), ("Options", [one for one in options if one is not None])):
            if records:
                with formatter.section(title):
                    # some versions of typer escape what rich would take for its markup, though nobody asked for that
                    formatter.write_dl([(name, meaning.replace("\\[", "[")) for name, meaning in records])


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def build(verb: str) -> Any:
    """The typer command of a verb."""
    module = importlib.import_module(f"algate.cli.commands.{verb}{'_' if keyword.iskeyword(verb) else ''}")
    functions: Mapping[str, Callable[..., Any]] = getattr(module, "VERBS", None) or {verb: getattr(module, verb)}
    made = typer.Typer(help=VERBS[verb], cls=Several if len(functions) > 1 else None, **SETTINGS)
    for name, function in functions.items():
        made.command(name, cls=Verb)(guarded(function))
    return typer.main.get_command(made)


def guarded(function: Callable[..., Any]) -> Callable[..., None]:
    """`function`, with every failure turned into a line on stderr and an exit code."""

    @functools.wraps(function)
    def verb(*args: Any, **kwargs: Any) -> None:
        try:
            code = function(*args, **kwargs)
            sys.stdout.flush()
        except Exception as error:
            code = failure(error)
        except KeyboardInterrupt:
            code = 130
        raise typer.Exit(code or 0)

    return verb


def failure(error: Exception) -> int:
    """Tell the operator; return the exit code. What typer handles itself is raised again."""
    if type(error).__module__.startswith(("typer", "click")):
        raise error
    if os.environ.get("ALGATE_DEBUG"):
        raise error
    if isinstance(error, AlgateError):
        say(f"algate: {error}")
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader has all it wanted: don't flush anything more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    say(f"algate: a bug in algate: {type(error).__name__}: {error} (ALGATE_DEBUG=1 shows where)")
    return FAILED


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"algate {version('algate')}")
        raise typer.Exit


app = typer.Typer(cls=Verbs, invoke_without_command=True, **SETTINGS)


@app.callback(
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 missing privilege or kernel feature. "
    "ALGATE_RUN_DIR is the default for --run-dir. `algate VERB --help` shows a verb's options."
)
def options(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Share one internet connection with a network: eBPF translates in the kernel, a helper understands FTP."""
    if ctx.invoked_subcommand is None:
        nothing_asked(ctx)


def nothing_asked(ctx: typer.Context) -> None:
    """`algate` alone: how the gateway is if one runs, else the help, as for any wrong usage."""
    from algate.client import Client

    if Client().there():
        raise typer.Exit(app(["status"], prog_name="algate", standalone_mode=False) or 0)
    typer.echo(ctx.get_help(), err=True)
    raise typer.Exit(USAGE)


def main() -> None:
    """The entry point: runs `app`, and reports an error while a verb loads like any other."""
    for name in ("stdout", "stderr"):  # a caller that closed them wants to hear nothing
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # for as long as the process lives
    try:
        if completion.asked():
            completion.prepare()
        app(prog_name="algate")
    except Exception as error:
        sys.exit(failure(error))


if __name__ == "__main__":
    main()

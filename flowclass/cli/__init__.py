"""The command line. Each command has its own module, which is imported only when the command is used.

Exit status: 0 done; 1 done, but some input was damaged (or ``check`` found something); 2 wrong usage, a configuration
error, or a file that is missing or not a capture; 130 interrupted. An error is one line on stderr, without a traceback.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import click

from flowclass import __version__
from flowclass.errors import FlowclassError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["DAMAGED", "DONE", "INTERRUPTED", "USAGE", "main", "tell"]

# numpy's linear algebra, which no command uses, would start a thread per processor (20 ms) when it is loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ARGUMENTS = "flowclass.arguments"  # where a context keeps the arguments of the command line
DONE, DAMAGED, USAGE, INTERRUPTED = 0, 1, 2, 130

# command -> its help text, in the order of --help; the texts are kept here so that --help imports no command
COMMANDS = {
    "demo": "The draft's usage scenario on data made on the spot; start here.",
    "classify": "Decide each packet of capture files.",
    "decode": "Show the Mobility Header messages of a capture file.",
    "explain": "Show why one packet went where it went.",
    "split": "Write the packets themselves, one file per decision.",
    "check": "Examine a bindings file.",
    "report": "Write one HTML page about a capture file, with pictures.",
    "lookup": "Show which rule of a rule set each packet header gets.",
    "bench": "Measure the classifier on this machine.",
    "ha": "Run a live home agent.",
    "mn": "Run a live mobile node.",
    "cn": "Run a live correspondent node.",
    "ctl": "Ask or tell a running agent.",
    "completion": "Print what makes your shell complete flowclass.",
    "man": "Write the manual pages into a folder.",
}


class _ReaderGone(Exception):
    """A broken pipe: raised in place of BrokenPipeError, which click would handle itself."""


class Commands(click.Group):
    """A group that imports ``flowclass.cli.NAME`` for the command NAME only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of the help text."""
        return [name for name in COMMANDS if _exists(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the module of a command; None for a name that no command has."""
        if cmd_name not in COMMANDS or not _exists(cmd_name):
            return None
        command: click.Command = importlib.import_module(f"flowclass.cli.{cmd_name}").command
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Keeps the arguments as they were given, for a page that says how it was made."""
        given = tuple(args)
        try:
            ctx = super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError:  # of --help
            raise _ReaderGone from None
        ctx.meta[ARGUMENTS] = given
        return ctx

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names. Raises a usage error, which says what is similar, if none does."""
        if args and args[0][:1] != "-" and args[0] not in self.list_commands(ctx):
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f": did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands and options that begin so; no command is imported for it."""
        from click.shell_completion import CompletionItem

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        found = [CompletionItem(name, help=COMMANDS[name]) for name in names]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command; turns a broken pipe into `_ReaderGone`, on which `main` ends without a message."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGone from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands with the texts that are kept here, so that none of them is imported."""
        if names := self.list_commands(ctx):
            with formatter.section("Commands"):
                formatter.write_dl([(name, COMMANDS[name]) for name in names])


def _exists(name: str) -> bool:
    return os.path.exists(os.path.join(os.path.dirname(__file__), f"{name}.py"))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flowclass")
def flowclass() -> None:
    """Flow bindings in Mobile IPv6 and NEMO: which packet goes to which care-of address, and why.

    Start with `flowclass demo`; `flowclass COMMAND --help` tells more.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    # numpy's BLAS starts a thread per core that spins for 60 ms of CPU time; nothing here multiplies matrices
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # a file until somebody put a pipe in its place: it stays as it is
                stream.reconfigure(errors=_ESCAPES)
    if "_FLOWCLASS_COMPLETE" in os.environ:
        importlib.import_module("flowclass.cli.completion")
    try:
        with _ended_by_signals():
            try:
                status = flowclass.main(args=arguments, prog_name="flowclass", standalone_mode=False)
            except click.exceptions.NoArgsIsHelpError as error:
                click.echo(error.format_message())
                status = USAGE
            sys.stdout.flush()
    except click.ClickException as error:
        return _fail(error.format_message() + _hint(error))
    except (click.Abort, KeyboardInterrupt):
        tell("flowclass: interrupted")
        return INTERRUPTED
    except (BrokenPipeError, _ReaderGone):
        return _broken_pipe()
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("flowclass."):
            raise
        return _fail(f"{error.name} is not built; in a checkout: pip install -e . (it takes a C compiler)")
    except FlowclassError as error:
        return _fail(str(error))
    except MemoryError as error:
        return _fail(f"out of memory{f': {error}' if str(error) else ''}")
    except OSError as error:
        if error.filename is None and error.errno in _UNWRITTEN:
            _drop_output(sys.stdout)
            return _fail(f"standard output: {error.strerror}")
        where = "" if error.filename is None else f"{error.filename}: "
        return _fail(f"{where}{error.strerror or error}")
    except UnicodeError as error:  # a lone surrogate, which can occur in JSON and file names
        return _fail(f"a text that is no Unicode: {error}")
    return status if isinstance(status, int) else DONE


_UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)  # what writing to a stream may raise
_LONGEST = 1000  # characters of an error message
_ESCAPES = "flowclass.escapes"


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """What is printed for characters that the terminal lacks, and for octets of a file's name that are no text."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_escaped_character, error.object[error.start : error.end])), error.end


def _escaped_character(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # an octet that Python could not decode: \xNN, as in outputs
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("ascii", "backslashreplace").decode()


codecs.register_error(_ESCAPES, _escaped)


def _fail(message: str) -> int:
    line = " ".join(message.split())  # one line, even if the message has several
    if len(line) > _LONGEST:  # the name of a file may have any length, if no file has it
        line = f"{line[: _LONGEST // 2]}...{line[-_LONGEST // 2 :]}"
    tell(f"flowclass: error: {line}")
    return USAGE


def tell(line: str) -> None:
    """Prints a line to standard error. If that can't be written to, there is nobody to tell."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _drop_output(sys.stderr)


def _open_closed_streams() -> None:
    """Opens standard streams that are closed (``>&-``), so that using one is an error like any other.

    Otherwise the next file that is opened would get the descriptor of standard output, say.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number else os.O_WRONLY)  # the wrong way round: nothing is lost silently
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 (open as long as the process)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP interrupt a command as SIGINT does, so that no half-made output stays.

    Signals that are ignored, or have a handler already, are left alone.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _hint(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    return f" (see {ctx.command_path} --help)" if isinstance(ctx, click.Context) else ""


def _broken_pipe() -> int:
    """Drops buffered output when its reader has closed the pipe (``| head``), which is not an error."""
    _drop_output(sys.stdout)
    return DONE


def _drop_output(stream: TextIO) -> None:
    """Drops what the stream has buffered, which would otherwise be written, and fail again, at the end."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())

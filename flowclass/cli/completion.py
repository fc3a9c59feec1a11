"""``flowclass completion``: what makes a shell complete commands, options and file names."""

from __future__ import annotations

import os

import click
from click.shell_completion import BashComplete, ShellComplete, add_completion_class, get_completion_class

_VARIABLE = "_FLOWCLASS_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")


class _Bash(BashComplete):
    """Click's completion for bash, which gives file names themselves: click leaves them to bash's default.

    So they are there for whatever calls the function, and bash quotes them and puts a slash behind folders.
    """

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' type value response
    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            dir) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -d -- "${COMP_WORDS[COMP_CWORD]#=}")) ;;
            file) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]#=}")) ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done <<< "$response"
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


add_completion_class(_Bash, "bash")


@click.command("completion", short_help="Print what makes your shell complete flowclass.")
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
def command(shell: str | None) -> None:
    """Prints a script that makes a shell complete commands, options, their values and file names.

    \b
    bash:  flowclass completion bash > ~/.local/share/bash-completion/completions/flowclass
    zsh:   flowclass completion zsh > ~/.zfunc/_flowclass    (a folder of your fpath, before compinit)
    fish:  flowclass completion fish > ~/.config/fish/completions/flowclass.fish

    For the present shell only: eval "$(flowclass completion bash)". Without SHELL: the one that $SHELL names.
    """
    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    found = get_completion_class(name) if name in _SHELLS else None
    if found is None:
        raise click.UsageError(f"which shell? One of {', '.join(_SHELLS)} is expected")
    script: ShellComplete = found(click.get_current_context().find_root().command, {}, "flowclass", _VARIABLE)
    click.echo(script.source())

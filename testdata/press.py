"""Types KEYS into an interactive SHELL that has our completions, and prints the screen.

    press.py bash|zsh|fish KEYS [FILE]

In KEYS, \\t is the Tab key and \\r Enter. A command line that is entered is not
run: it is printed as RAN<arguments>. The completions are in FILE, as a package
installs it; without one the program prints them.
"""
import os
import pty
import select
import sys

PASS = "__complete|__completeNoDesc"
FILE = sys.argv[3] if len(sys.argv) > 3 else ""
SETUP = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        "bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; bind 'set page-completions off'; "
        "bind 'set completion-query-items 0'; . /usr/share/bash-completion/bash_completion; "
        + (". " + FILE if FILE else ". <(oidc-broker completion bash)") + "; "
        'oidc-broker() { case "$1" in ' + PASS + ') command oidc-broker "$@" ;; *) echo "RAN<$*>" ;; esac; }; '
        "PS1='RE''ADY '",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        ("fpath=(" + os.path.dirname(FILE) + " $fpath); " if FILE else "")
        + "autoload -U compinit; compinit -u -D; unsetopt beep; LISTMAX=1000; "
        + ("" if FILE else ". <(oidc-broker completion zsh); ")
        + 'oidc-broker() { case "$1" in ' + PASS + ') command oidc-broker "$@" ;; *) echo "RAN<$*>" ;; esac; }; '
        "PS1='RE''ADY '",
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        ("source " + FILE if FILE else "oidc-broker completion fish | source") + "; "
        "function oidc-broker; switch $argv[1]; case __complete __completeNoDesc; command oidc-broker $argv; "
        'case "*"; echo "RAN<$argv>"; end; end; function fish_prompt; echo -n "RE""ADY "; end',
    ),
}


def main():
    shell, keys = sys.argv[1], sys.argv[2].encode().decode("unicode_escape")
    argv, setup = SETUP[shell]
    pid, tty = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", COLUMNS="200", LINES="100")
        os.execvp(argv[0], argv)
    screen = bytearray()

    def until(done):
        while not done():
            if not select.select([tty], [], [], 60)[0]:
                sys.exit("the shell does not answer; the screen is:\n" + screen.decode(errors="replace"))
            try:
                got = os.read(tty, 65536)
            except OSError:  # the shell has gone
                return
            if not got:
                return
            screen.extend(got)

    os.write(tty, (setup + "\r").encode())
    until(lambda: b"READY " in screen)
    del screen[:]
    os.write(tty, keys.encode())
    os.write(tty, b"\x15exit\r")  # Ctrl-U: whatever is on the line goes away
    until(lambda: False)
    os.waitpid(pid, 0)
    sys.stdout.write(screen.decode(errors="replace"))


main()

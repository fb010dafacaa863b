"""Probes that no script can judge: what outlived a sandbox, and what its answers did to whoever read them."""

from __future__ import annotations

from aar.outside.sandbox.probes.attempt import PROBES, Probe

TERMINAL = {
    "clear-screen": "Wipe the screen and what can be scrolled back",
    "move-cursor": "Write over lines that are already there",
    "set-title": "Rename the window",
    "write-clipboard": "Put a command where the reader will paste it",
    "hide-link": "Show one address and lead to another",
    "use-upper-controls": "The same by single bytes above 127",
    "overwrite-line": "Overwrite the line by going back to its start",
    "forge-line": "Add a line that looks like ours",
    "reverse-text": "Turn the direction of writing round",
    "hide-text": "Hide text in characters without width",
    "pile-up-marks": "Paint over other lines with stacked marks",
}
ENDS = {
    "outlive-the-kill": "Leave processes behind when the sandbox is killed",
    "outlive-the-program": "Leave processes behind when the program ends by itself",
    "outlive-the-launcher": "Leave processes behind when the launcher is killed",
    "outlive-as-daemon": "Leave session, parent and streams behind, as a daemon does",
    "outlive-ignoring-signals": "Ignore every signal that can be ignored",
    "outlive-stopped": "Be stopped when the end comes",
    "outlive-by-running-on": "Be another program by the time that the end comes",
    "outlive-by-hopping": "Be a new process every few milliseconds, so that no list is current",
    "outlive-by-thread": "Let the thread that began it end first",
}
RESULTS = {
    "flood-output": ("Write without end on standard output", "capped pipes"),
    "flood-errors": ("Write without end on standard error", "capped pipes"),
    "hold-output-open": ("Keep the stream open, so that its reader waits for ever", "process namespace"),
    "rewrite-transcript": ("Go back in one's own output and change what was said", "capped pipes"),
    "imitate-a-kill": ("End in a way that reads as if we had ended it", "the launcher's word"),
    "forge-exit-status": ("Write a status of one's own where the launcher reads it", "closed descriptors"),
    "leave-files": ("Leave links, pipes and sparse files where the host trips on them", "mount view"),
    "stop-the-writer": ("Read no input, so that whoever writes it waits for ever", "sealed input"),
}

for _name, _says in ENDS.items():
    PROBES[_name] = Probe(_name, "kill", ("process namespace",), _says)
for _name, (_says, _wall) in RESULTS.items():
    PROBES[_name] = Probe(_name, "results", (_wall,), _says)
for _name, _says in TERMINAL.items():
    PROBES[_name] = Probe(_name, "terminal", ("written-out text",), _says)

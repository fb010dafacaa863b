"""Fingerprints: a stranger's program is read without being run, whatever it is."""

from __future__ import annotations

import threading
import time

import pytest

from aar.outside.monitor.fingerprint import fingerprint_of
from monitor.told import METHOD

HOSTILE = {
    "no Python": "def predict(:\n",
    "a null byte": "x = '\0'\n",
    "parentheses": "(" * 30_000 + ")" * 30_000,
    "brackets": "x = " + "[" * 95 + "]" * 95,
    "minus signs": "x = " + "-" * 30_000 + "1",
    "a sum": "x = " + "+".join("1" * 15_000),
    "attributes": "x = a" + ".b" * 15_000,
    "calls": "x = a" + "()" * 15_000,
    "elif": "if a:\n    pass\n" + "elif a:\n    pass\n" * 3_000,
    "lambda": "x = " + "lambda: " * 6_000 + "1",
    "not": "x = " + "not " * 10_000 + "1",
    "conditions": "x = " + "1 if a else " * 4_000 + "1",
    "indents": "".join("  " * n + "if a:\n" for n in range(95)) + "  " * 95 + "pass\n",
    "a long number": "x = " + "9" * 5_000,
    "an endless number": "x = 1e999 + 10**400\n",
    "a lone surrogate": "x = '\\ud800'\n",
    "many bytes": "x = 1\n" * 30_000,
    "f-strings": "x = " + "f'{" * 60 + "1" + "}'" * 60,
    "text without end": "'''",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_program_has_a_fingerprint_and_harms_nobody(text: str) -> None:
    """In a thread, as the gateway has it: a small stack would show."""
    found = []
    files = {"method.py": text, "data.json": "[" * 20_000}
    thread = threading.Thread(target=lambda: found.append(fingerprint_of(files)))
    thread.start()
    thread.join(20)
    assert len(found) == 1
    assert found[0] == fingerprint_of(files)
    assert found[0].same != fingerprint_of({**files, "method.py": METHOD}).same


def test_what_is_the_same_is_a_variant_of_itself() -> None:
    one, other = (fingerprint_of({"method.py": text}) for text in (METHOD, METHOD + "# more\n"))
    assert one == other


def test_a_file_that_an_imported_module_reads_belongs_to_the_method() -> None:
    files = {
        "method.py": "import part\n\ndef predict(instance, rng):\n    return part.table()\n",
        "part.py": 'def table():\n    return open("table.json").read()\n',
        "table.json": "[1]",
        "unread.json": "[1]",
    }
    found = fingerprint_of(files)
    assert fingerprint_of({**files, "unread.json": "[2]"}) == found
    assert fingerprint_of({**files, "table.json": "[2]"}).same != found.same
    assert (
        fingerprint_of({**files, "part.py": files["part.py"].replace("read", "readline")}).same != found.same
    )


def test_a_method_of_many_long_files_is_read_as_far_as_the_bound_and_method_py_first() -> None:
    """Eight such files were seconds in which the gateway answered nobody."""
    files = {f"a{number}.py": "a = 1\n" * 5_000 for number in range(8)}
    reads = METHOD + "\nimport a0, a1, a2, a3, a4, a5, a6, a7\n"
    began = time.process_time()
    found = fingerprint_of({**files, "method.py": reads})
    assert time.process_time() - began < 4
    assert found.same == fingerprint_of({**files, "method.py": reads + "# a comment\n"}).same
    assert found.same != fingerprint_of({**files, "method.py": reads, "a7.py": "a = 2\n"}).same
    # What is beyond the bound is taken as bytes.
    assert found.same != fingerprint_of({**files, "method.py": reads, "a7.py": files["a7.py"] + "#\n"}).same
    assert found.same == fingerprint_of({**files, "method.py": reads, "a0.py": files["a0.py"] + "#\n"}).same

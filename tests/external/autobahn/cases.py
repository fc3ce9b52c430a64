"""The cases of the Autobahn test suite, on Python 3.

The package `autobahntestsuite` (25.10.1 is the newest on PyPI) is written in Python 2, which no
supported system has any more. Its cases need little: this module reads their source out of the
installed package, changes what Python 3 has no word for, and imports the result.

Python 2 does not tell bytes from text, and the cases rely on it. Their sources are therefore read
as Latin-1, so that each character of a literal is one byte, and the fuzzing protocol (`fuzz.py`)
turns such strings into bytes and back where they meet the connection. The cases 12.* and 13.* deal
in bytes by themselves.
"""

import binascii
import importlib.abc
import importlib.util
import os
import re
import sys
import types

PACKAGE = "autobahn_cases"

# How many messages a case sends that would send a thousand, so that the whole takes minutes and not
# hours. Verdicts don't depend on it.
REPETITIONS = 8

# Each one message of a mebibyte or more, in pieces down to 64 bytes, which pure Python takes
# minutes to mask and check: 9.1.3-6 and 9.2.3-6 (1 to 16 MiB), 9.3.* and 9.4.* (4 MiB in
# fragments), 9.5.* and 9.6.* (1 MiB in chops).
TOO_LONG = re.compile(r"9\.([12]\.[3-6]|[3-6]\..*)$")

# 65,536 bytes and more a message; 8 of 32,768 bytes leave a deflate window behind as well.
TOO_LARGE = re.compile(r"1[23]\.\d+\.(9|10|1[4-8])$")

REWRITES = [
    # In no list of cases, and written against a class that is gone.
    (r"^from case9_9_1 import .*$", ""),
    (r"^(\s*)from (case\w*|caseset) import", r"\1from .\2 import"),
    (r"^import (?=.*\b(?:binascii|pkg_resources)\b).*$", "import copy, hashlib, os"),
    (r"^(\s*)print\b.*$", r"\1pass"),
    (r"\(object, Case, *\)", "(Case,)"),
    (r"\bxrange\(", "range("),
    (r"\bunichr\((\w+)\)\.encode\(\"utf-8\"\)", r"utf8(\1)"),
    (r"\b(\w+)\.validate\((.+?)\)$", r'\1.validate((\2).encode("latin-1"))'),
    # A quotient that counts frames.
    (r"len\(self\.payload\) / ", "len(self.payload) // "),
    # Renamed in Autobahn since.
    (r"\bacceptNoContextTakeover\b", "accept_no_context_takeover"),
    (r"\bacceptMaxWindowBits\b", "accept_max_window_bits"),
    (r"\brequestNoContextTakeover\b", "request_no_context_takeover"),
    (r"\brequestMaxWindowBits\b", "request_max_window_bits"),
]


def utf8(codepoint):
    """As Python 2 encodes it: surrogates too."""
    return chr(codepoint).encode("utf-8", "surrogatepass").decode("latin-1")


def raw(payload):
    """The bytes that a case means."""
    return payload.encode("latin-1") if isinstance(payload, str) else payload


def root():
    """Where the package lies. It cannot be imported."""
    return os.path.dirname(importlib.util.find_spec("autobahntestsuite").origin)


class Python2(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of the package's folder `case`, and loads them rewritten."""

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] != PACKAGE:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=name == PACKAGE)

    def exec_module(self, module):
        name = module.__name__.partition(".")[2] or "__init__"
        path = os.path.join(root(), "case", name + ".py")
        with open(path, encoding="latin-1", newline=None) as file:
            source = file.read()
        for pattern, replacement in REWRITES:
            source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
        module.utf8 = utf8
        module.binascii = types.SimpleNamespace(
            b2a_hex=lambda data: binascii.b2a_hex(raw(data)).decode(),
            hexlify=lambda data: binascii.b2a_hex(raw(data)).decode(),
        )
        module.pkg_resources = types.SimpleNamespace(
            resource_filename=lambda _, file: os.path.join(root(), file)
        )
        # Only the cookie line would make Python read the Latin-1 text as something else.
        source = re.sub(r"^#.*coding.*$", "", source, flags=re.MULTILINE)
        exec(compile(source, path, "exec"), module.__dict__)


def load():
    """All cases that are run, by id, in the suite's order."""
    sys.meta_path.insert(0, Python2())
    package = importlib.import_module(PACKAGE)
    cases = {}
    for case in package.Cases:
        number = case.__name__[len("Case"):].replace("_", ".")
        if TOO_LONG.match(number) or TOO_LARGE.match(number):
            continue
        if hasattr(case, "COUNT"):
            case.COUNT = min(case.COUNT, REPETITIONS)
        # The suite compares pickles, which differ between equal strings.
        case.compare = lambda self, one, other: one == other
        case.IN_BYTES = number.startswith(("12.", "13."))
        cases[number] = case
    return cases


if __name__ == "__main__":
    print("\n".join(load()))

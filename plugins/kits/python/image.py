"""Completes the image that every attempt starts from. An attempt has no files: what is not loaded by then, it cannot
import, and of what source lines it has no copy, tracebacks show none.
"""

import dis
import encodings
import gc
import importlib
import linecache
import pkgutil
import re
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from types import CodeType, ModuleType

# What the interpreter itself loads when it first needs it.
import _strptime  # noqa: F401

from . import host

AUTHORS = re.compile(r"/\d+/.*\.py$")
"""Files of the project and its packages, in the folders as componentize-py calls them."""

# Their functions serve the interactive interpreter, and imports from archives and of data files.
_START_UP = {"site", "_sitebuiltins", "zipimport", "_frozen_importlib_external"}
# For programs of their own and for other processes, neither of which a component has.
_NOT_FOR_COMPONENTS = {"argparse", "doctest", "multiprocessing", "pdb", "pydoc", "subprocess", "unittest"}

_IMPORTED_BY_NAME = {
    "anyio": "anyio._backends._asyncio",
    "importlib.resources": "importlib.readers",
    "xml.sax": "xml.sax.expatreader",
}
"""What modules import later by a name that is not written in an import statement."""


def complete() -> None:
    """To be called when the author's modules are loaded."""
    _import_codecs()
    _import_what_functions_import()
    _remember_sources()
    sys.meta_path.append(_TooLate)
    # What is here stays: collections need not look at it, nor touch the memory that it is in.
    gc.collect()
    gc.freeze()


def _import_codecs() -> None:
    """Imports every codec: which of them a zip archive, an e-mail or a host name asks for is not known before."""
    for codec in pkgutil.iter_modules(encodings.__path__):
        try:
            importlib.import_module(f"encodings.{codec.name}")
        except ImportError:
            # Of another system, or in need of a C module that is not there.
            pass


def _import_what_functions_import() -> None:
    """Imports what loaded modules would import later: the author's, and those of the standard library, where
    `Counter.most_common` is one of many that do.
    """
    seen: set[str] = set()
    while modules := {name: module for name, module in sys.modules.items() if name not in seen}:
        seen.update(modules)
        by_name = {name for loaded, name in _IMPORTED_BY_NAME.items() if loaded in modules}
        for name in sorted(by_name.union(*map(_imports, modules.values()))):
            try:
                importlib.import_module(name)
            except Exception:
                # For another system, or a package that is optional. If it is needed after all, _TooLate tells.
                pass


def _imports(module: ModuleType) -> Iterator[str]:
    """The modules that a module's functions import by name."""
    spec = getattr(module, "__spec__", None)
    if spec is None or spec.name in _START_UP or not hasattr(spec.loader, "get_code"):
        return
    if spec.name.split(".")[0] == "kiln":
        # The kit's functions import what stands in for libraries, once those are there: that alone must not bring them.
        return
    code = spec.loader.get_code(spec.name)
    for function in _functions(code) if code else ():
        # What the standard library's modulefinder goes by.
        for name, level, members in dis._find_imports(function):
            if level:
                name = resolve_name("." * level + (name or ""), spec.parent)
            if name.split(".")[0] not in _NOT_FOR_COMPONENTS:
                yield name
                # Of `from x import y`, y may be a module.
                yield from (f"{name}.{member}" for member in members or () if member != "*")


def _functions(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _functions(inner)


def _remember_sources() -> None:
    """Keeps the lines of the author's files and packages, for tracebacks."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) or ""
        if AUTHORS.match(file):
            lines = linecache.getlines(file)
            # Without a time of change, it is never looked for again.
            linecache.cache[file] = (sum(map(len, lines)), None, lines, file)


class _TooLate:
    """Says why a module that is there outside Wasm is missing while a job runs. Asked after all other finders."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if host.running:
            why = "a component imports modules while it is built: import it at the top of handler.py, if Python has it there"
            raise ModuleNotFoundError(f"No module named {name!r}; {why}", name=name)

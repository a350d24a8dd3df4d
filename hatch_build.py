"""Compile the C++ kernels of `jmlip/ops/native` while the package is built.

The compiler is $CXX, or the first of g++, clang++ and c++ that is found; the headers are those of
the jaxlib of the build. Without a compiler, or where it fails, one line says so and the package is
plain Python: everything runs, on plain JAX.

JMLIP_MARCH: the processor to compile for, as the compiler's `-march` names it. Without it, the one
at hand; `JMLIP_MARCH=x86-64-v3 pip wheel --no-deps .` makes a wheel for others too.
"""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("jmlip") / "ops" / "native"
LIBRARY = FOLDER / "libjmlip.so"
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-pthread"]


class Kernels(BuildHookInterface):
    """Put `libjmlip.so` into the wheel, or beside its sources where the install is editable."""

    def initialize(self, version: str, build_data: dict) -> None:
        root = Path(self.root)
        in_place = root / LIBRARY
        if version == "editable":
            # what an earlier build has left may not fit the sources any more
            in_place.unlink(missing_ok=True)
        self.folder = tempfile.TemporaryDirectory(dir=root / FOLDER)
        built = Path(self.folder.name) / LIBRARY.name
        problem = compile_kernels(root, built)
        if problem:
            self.app.display_warning(f"jmlip is built without its C++ kernels: {problem}")
            return
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        if version == "editable":
            built.replace(in_place)
        else:
            build_data["force_include"][str(built)] = str(LIBRARY)

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        self.folder.cleanup()


def compile_kernels(root: Path, library: Path) -> str:
    """Why the library could not be made; empty where it was."""
    compiler = find_compiler()
    if not compiler:
        return "no C++ compiler was found; set CXX"
    jaxlib = importlib.util.find_spec("jaxlib")
    if jaxlib is None or not jaxlib.submodule_search_locations:
        return "jaxlib, which has the headers, is not there"
    headers = Path(jaxlib.submodule_search_locations[0]) / "include"
    sources = sorted((root / FOLDER).glob("*.cc"))
    wanted = os.environ.get("JMLIP_MARCH")
    # not every compiler knows the processor at hand
    choices = [[f"-march={wanted}"]] if wanted else [["-march=native"], []]
    problem = ""
    for choice in choices:
        problem = build([*compiler, *FLAGS, *choice, "-isystem", str(headers)], sources, library)
        if not problem and library.exists():
            return ""
    return problem or f"{compiler[0]} made no library"


def build(command: list[str], sources: list[Path], library: Path) -> str:
    """What went wrong, in a line. Sources are compiled at the same time."""
    objects = [str(library.with_name(f"{source.stem}.o")) for source in sources]
    jobs = [
        [*command, "-c", str(source), "-o", made]
        for source, made in zip(sources, objects, strict=True)
    ]
    with ThreadPoolExecutor() as pool:
        problems = [problem for problem in pool.map(run, jobs) if problem]
    return problems[0] if problems else run([*command, "-shared", *objects, "-o", str(library)])


def find_compiler() -> list[str]:
    """The words that call it; none where there is none."""
    if os.environ.get("CXX"):
        return shlex.split(os.environ["CXX"])
    found = [path for name in ("g++", "clang++", "c++") if (path := shutil.which(name))]
    return found[:1]


def run(command: list[str]) -> str:
    """What went wrong, in a line."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]} does not run ({error.strerror})"
    if done.returncode == 0:
        return ""
    errors = [line for line in done.stderr.splitlines() if "error" in line] or [""]
    return f"{command[0]} failed ({errors[0].strip() or f'exit code {done.returncode}'})"

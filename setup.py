"""The compiled parts; everything else is in pyproject.toml.

FLOWCLASS_SANITIZE=address,undefined builds the extensions with these sanitizers (see csrc/Makefile for the C tests).
"""

import os
import shutil
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

SANITIZE = os.environ.get("FLOWCLASS_SANITIZE")
CFLAGS = ["-std=c11", "-O3", "-g0", "-fPIC", "-Wall", "-Wextra", "-fvisibility=hidden", "-D_GNU_SOURCE"]
LDFLAGS = ["-pthread"]
if SANITIZE:
    CFLAGS += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g", "-O1"]  # the last -O counts
    LDFLAGS += [f"-fsanitize={SANITIZE}"]
# never -march=native: kernels carry their own target attributes and are chosen at run time

INCLUDE = ["csrc/include", "csrc/src"]
CORE = sorted(map(str, Path("csrc/src").rglob("*.c")))
HEADERS = sorted(str(p) for d in INCLUDE for p in Path(d).rglob("*.h"))


class BuildPy(build_py):
    """Puts the public headers into the package, where flowclass.get_include() finds them."""

    def run(self) -> None:
        super().run()
        if not getattr(self, "editable_mode", False):
            target = Path(self.build_lib) / "flowclass" / "include"
            target.mkdir(parents=True, exist_ok=True)
            for header in Path("csrc/include").glob("*.h"):
                shutil.copy(header, target)


extensions = [
    Extension(
        ".".join(pyx.with_suffix("").parts),
        sources=[str(pyx)],
        depends=[*HEADERS, *CORE],  # linked in as a static library
        include_dirs=INCLUDE,
        extra_compile_args=[*CFLAGS, "-Wno-unused-function"],
        extra_link_args=LDFLAGS,
    )
    for pyx in sorted(Path("flowclass").rglob("*.pyx"))
]

setup(
    ext_modules=cythonize(extensions, build_dir="build/cython", include_path=["."]),
    # one static library, linked into each extension: the core is compiled once
    libraries=[
        ("flowclass_core", {"sources": CORE, "include_dirs": INCLUDE, "cflags": CFLAGS, "obj_deps": {"": HEADERS}})
    ],
    cmdclass={"build_py": BuildPy},
    options={"build_ext": {"parallel": os.cpu_count()}},
)

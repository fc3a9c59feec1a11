"""The compiled parts; everything else is in pyproject.toml.

FLOWCLASS_SANITIZE=address,undefined builds the extensions with these sanitizers (see csrc/Makefile for the C tests).
"""

import gzip
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

SANITIZE = os.environ.get("FLOWCLASS_SANITIZE")
CFLAGS = ["-std=c11", "-O3", "-g0", "-fPIC", "-Wall", "-Wextra", "-fvisibility=hidden", "-D_GNU_SOURCE"]
LDFLAGS = ["-pthread"]
if sys.platform == "linux":
    # read-only tables of addresses; of the core, linked in statically, nothing is exported
    LDFLAGS += ["-Wl,-z,relro,-z,now", "-Wl,--exclude-libs,ALL"]
if SANITIZE:
    CFLAGS += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g", "-O1"]  # the last -O counts
    LDFLAGS += [f"-fsanitize={SANITIZE}"]
else:
    CFLAGS += ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3"]
# never -march=native: kernels carry their own target attributes and are chosen at run time

INCLUDE = ["csrc/include", "csrc/src"]
CORE = sorted(map(str, Path("csrc/src").rglob("*.c")))
HEADERS = sorted(str(p) for d in INCLUDE for p in Path(d).rglob("*.h"))


class BuildPy(build_py):
    """Puts the C library's headers and sources into the package, for flowclass.get_include() and get_sources()."""

    def run(self) -> None:
        super().run()
        if not getattr(self, "editable_mode", False):
            package = Path(self.build_lib) / "flowclass"
            shutil.copytree("csrc/include", package / "include", dirs_exist_ok=True)
            shutil.copytree("csrc/src", package / "csrc" / "src", dirs_exist_ok=True)


class SDist(sdist):
    """The same octets whoever makes it, and when: sorted members that belong to nobody, all of one time."""

    def make_archive(self, *arguments: object, **more: object) -> str:
        made = str(super().make_archive(*arguments, **more))
        if not made.endswith(".tar.gz"):
            return made
        when = int(os.environ.get("SOURCE_DATE_EPOCH", "1577836800"))
        with tarfile.open(made) as archive:
            members = [(member, archive.extractfile(member)) for member in archive.getmembers()]
            with (
                open(f"{made}.new", "wb") as raw,
                gzip.GzipFile("", "wb", 9, raw, mtime=when) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
            ):
                for member, content in sorted(members, key=lambda pair: pair[0].name):
                    member.mtime, member.uid, member.gid, member.uname, member.gname = when, 0, 0, "", ""
                    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                    member.pax_headers = {}
                    new.addfile(member, content)
        os.replace(f"{made}.new", made)
        return made


def readme() -> str:
    """README.md for a package index, where links to files of the checkout lead nowhere: their words as code."""
    text = Path("README.md").read_text(encoding="utf-8")
    return re.sub(r"\[`?([^\]`]+)`?\]\((?![a-z]+:|#)[^)]+\)", r"`\1`", text)


# Python that is compiled as it is: its first line has Cython's directives (docs/decisions/0019)
COMPILED = sorted(p for p in Path("flowclass").rglob("*.py") if p.read_text(encoding="utf-8").startswith("# cython:"))

extensions = [
    Extension(
        ".".join(source.with_suffix("").parts),
        sources=[str(source)],
        depends=[*HEADERS, *CORE] if source.suffix == ".pyx" else [],  # linked in as a static library
        include_dirs=INCLUDE,
        extra_compile_args=[*CFLAGS, "-Wno-unused-function"],
        extra_link_args=LDFLAGS,
    )
    for source in [*sorted(Path("flowclass").rglob("*.pyx")), *COMPILED]
]

setup(
    long_description=readme(),
    long_description_content_type="text/markdown",
    ext_modules=cythonize(extensions, build_dir="build/cython", include_path=["."]),
    # one static library, linked into each extension: the core is compiled once
    libraries=[
        ("flowclass_core", {"sources": CORE, "include_dirs": INCLUDE, "cflags": CFLAGS, "obj_deps": {"": HEADERS}})
    ],
    cmdclass={"build_py": BuildPy, "sdist": SDist},
    options={"build_ext": {"parallel": os.cpu_count()}},
)

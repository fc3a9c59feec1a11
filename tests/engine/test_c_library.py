"""The C library as its users get it: installed below a prefix, found by pkg-config or CMake, linked by any compiler."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import subprocess
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from places import ROOT

import flowclass
from flowclass.generate.captures import RAW, Frame, write_pcap
from flowclass.generate.packets import TCP, Fields, ip_packet

CSRC = ROOT / "csrc"
EXAMPLES = sorted((CSRC / "examples").glob("*.c"))
X86_64 = platform.machine() == "x86_64"

CORRESPONDENT = IPv6Address("2001:db8:c::1").packed

CONSUMER = """
#include <flowclass.h>
#include <stdio.h>

int main()
{
    if (fc_version()[0] != FC_VERSION[0])
        return 1;
    fc_rule rule = fc_rule();
    rule.version = 6;
    fc_table *table = NULL;
    int status = fc_table_build(&rule, 1, NULL, &table, NULL);
    fc_key key = fc_key();
    key.version = 6;
    int32_t hit = -1;
    if (!status)
        status = fc_table_lookup(table, &key, 1, &hit, FC_KERNEL_AUTO);
    fc_table_free(table);
    printf("%s %d\\n", fc_status_text(status), hit);
    return status;
}
"""
"""A program in C++, which has neither designated initializers (before C++20) nor C's implicit conversions."""


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=600,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    assert "warning" not in done.stderr, done.stderr
    return done.stdout


def install(folder: Path, compiler: str) -> Path:
    """``make install`` by this compiler, without optimisation of note: what is tested is that it links and runs."""
    prefix = folder / "prefix"
    arguments = [f"CC={compiler}", "CFLAGS=-O1", f"OUT={folder / 'objects'}", f"PREFIX={prefix}"]
    run("make", "-s", "-j2", "-C", CSRC, "install", *arguments, MAKEFLAGS="")
    return prefix


def flags(prefix: Path, *more: str) -> list[str]:
    path = str(prefix / "lib" / "pkgconfig")
    return run("pkg-config", "--cflags", "--libs", *more, "flowclass", PKG_CONFIG_PATH=path).split()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("library"), "cc")


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Three packets for the node of the example pcap_decisions: two of ssh, one of http; and one to nobody."""
    fields = [("2001:db8:1::1", 22), ("2001:db8:100::5", 22), ("2001:db8:1::1", 80), ("2001:db8:2::1", 22)]
    path = tmp_path / "trace.pcap"
    with path.open("wb") as stream:
        write_pcap(
            stream,
            [
                Frame(i, ip_packet(Fields(CORRESPONDENT, IPv6Address(to).packed, TCP, source_port=port)))
                for i, (to, port) in enumerate(fields)
            ],
            linktype=RAW,
        )
    return path


def test_the_version_is_the_packages(installed: Path) -> None:
    header = (installed / "include" / "flowclass.h").read_text(encoding="utf-8")
    numbers = re.findall(r"^#define FC_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", header, re.MULTILINE)
    (text,) = re.findall(r'^#define FC_VERSION "(.*)"$', header, re.MULTILINE)
    assert ".".join(numbers) == text == flowclass.__version__
    assert flags(installed, "--modversion")[0] == text


def test_actions_and_reasons_have_the_names_that_python_gives_them(installed: Path) -> None:
    library = ctypes.CDLL(str(installed / "lib" / "libflowclass.so"))
    for text, names in (library.fc_action_text, flowclass.Action), (library.fc_reason_text, flowclass.Reason):
        text.restype = ctypes.c_char_p
        assert {number: text(number).decode() for number in range(-1, len(names) + 1)} == {
            -1: "unknown",
            **{member.value: member.label for member in names},
            len(names): "unknown",
        }


@pytest.mark.needs_tool("nm", "readelf")
def test_the_shared_library_exports_functions_of_the_header_and_nothing_else(installed: Path) -> None:
    library = installed / "lib" / "libflowclass.so"
    lines = [line.split() for line in run("nm", "-D", "--defined-only", library).splitlines()]
    exported = {name.split("@")[0] for _, kind, name in lines if kind == "T"}
    headers = "".join(p.read_text(encoding="utf-8") for p in (installed / "include").glob("*.h"))
    declared = set(re.findall(r"^FC_API [^;(]*?\b(fc_\w+)\(", headers, re.MULTILINE))
    assert exported == declared
    assert {name for _, kind, name in lines if kind != "T"} == {"FLOWCLASS_0.1"}
    assert "Library soname: [libflowclass.so.0.1]" in run("readelf", "-d", library)


def test_the_static_library_collides_with_no_name_of_an_embedder(installed: Path) -> None:
    lines = run("nm", "-g", "--defined-only", installed / "lib" / "libflowclass.a").splitlines()
    names = [line.split()[2] for line in lines if len(line.split()) == 3]
    assert len(names) > 60
    assert [name for name in names if not name.startswith("fc_")] == []


@pytest.mark.needs_tool("man")
def test_the_manual_page_has_every_function(installed: Path) -> None:
    page = installed / "share" / "man" / "man3" / "flowclass.3"
    text = run("man", "--warnings", "-l", page, MANWIDTH="140", LC_ALL="C.UTF-8")
    header = (installed / "include" / "flowclass.h").read_text(encoding="utf-8")
    for name in re.findall(r"^FC_API [^;(]*?\b(fc_\w+)\(", header, re.MULTILINE):
        assert f"{name}(" in text, name
    description, _, declarations = text.partition("VERSION AND STATUS")
    assert "*/" not in description  # the ends of what the header is made of are left out
    assert not re.search(r"^ *\}$", declarations, re.MULTILINE)
    assert [line for line in text.splitlines() if line.startswith(("NAME", "SYNOPSIS", "DESCRIPTION", "KERNELS"))]


@pytest.mark.needs_tool("pkg-config")
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_examples_decide_what_they_say(installed: Path, capture: Path, tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"not installed: {compiler}")
    for example in EXAMPLES:
        strict = [compiler, "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread"]
        run(*strict, example, *flags(installed), f"-Wl,-rpath,{installed / 'lib'}", "-o", tmp_path / example.stem)
    decided = run(tmp_path / "pcap_decisions", capture).split()
    assert dict(zip(decided[::2], decided[1::2], strict=True)) == {
        "none": "1",
        "forward": "3",
        "discard": "0",
        "n-cast": "0",
    }
    assert " 0 wrong" in run(tmp_path / "publish_beside_readers", "0.5")


def test_an_example_says_what_is_wrong_with_its_input(installed: Path, tmp_path: Path) -> None:
    program, text = tmp_path / "pcap_decisions", tmp_path / "text"
    run(
        "cc",
        CSRC / "examples" / "pcap_decisions.c",
        *flags(installed),
        f"-Wl,-rpath,{installed / 'lib'}",
        "-o",
        program,
    )
    text.write_text("no capture at all, but long enough to be one")
    for argument, said in (text, "neither pcap nor pcapng"), (tmp_path / "absent", "cannot be opened"):
        done = subprocess.run([program, argument], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert said in done.stderr


FLAVOURS = {
    "c++": ("cc", "g++ -std=c++11 -pedantic", []),
    "static": ("cc", "g++ -std=c++11 -static", []),
    "32 bits": ("gcc-12 -m32 -idirafter /usr/include/x86_64-linux-gnu", "gcc-12 -m32 -x c", []),
    "musl": ("musl-gcc", "musl-gcc -x c -static", []),
    "aarch64": ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-gcc -x c -static", ["qemu-aarch64"]),
}


@pytest.mark.needs_tool("pkg-config")
@pytest.mark.skipif(not X86_64, reason="cross builds are those of an x86-64 machine")
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_program_links_and_runs(request: pytest.FixtureRequest, tmp_path: Path, flavour: str) -> None:
    library, program, runner = FLAVOURS[flavour]
    for tool in (library.split()[0], program.split()[0], *runner):
        if shutil.which(tool) is None:
            pytest.skip(f"not installed: {tool}")
    if flavour == "32 bits":
        probe = tmp_path / "probe.c"
        probe.write_text("#include <pthread.h>\nint main(void) { return 0; }\n")
        made = subprocess.run(["gcc-12", "-m32", probe, "-o", tmp_path / "probe"], capture_output=True, check=False)
        if made.returncode:
            pytest.skip("this gcc-12 makes no 32-bit programs: gcc-12-multilib")
    prefix = request.getfixturevalue("installed") if library == "cc" else install(tmp_path, library)
    source, binary = tmp_path / "consumer.cc", tmp_path / "consumer"
    text = CONSUMER
    if "-x c " in f"{program} ":
        text = text.replace("= fc_rule()", "= {0}").replace("= fc_key()", "= {0}")
    source.write_text(text)
    static = ["--static"] if "-static" in program else []
    link = [f"-Wl,-rpath,{prefix / 'lib'}"] if not static else []
    link = [*flags(prefix, *static), *link]
    run(*program.split(), "-Wall", "-Wextra", "-Werror", "-pthread", source, "-x", "none", *link, "-o", binary)
    assert run(*runner, binary) == "done 0\n"


@pytest.mark.needs_tool("cmake")
def test_cmake_finds_what_cmake_installed(tmp_path: Path) -> None:
    prefix, build, consumer = tmp_path / "prefix", tmp_path / "build", tmp_path / "consumer"
    options = [f"-DCMAKE_INSTALL_PREFIX={prefix}", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_INSTALL_LIBDIR=lib"]
    run("cmake", "-S", CSRC, "-B", build, *options)
    run("cmake", "--build", build, "-j2")
    run("cmake", "--install", build)
    consumer.mkdir()
    (consumer / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(consumer CXX)\n"
        "find_package(flowclass 0.1 REQUIRED)\nadd_executable(consumer main.cc)\n"
        "target_link_libraries(consumer flowclass::flowclass)\n"
    )
    (consumer / "main.cc").write_text(CONSUMER)
    run("cmake", "-S", consumer, "-B", consumer / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", consumer / "build")
    assert run(consumer / "build" / "consumer") == "done 0\n"
    assert flags(prefix, "--modversion")[0] == flowclass.__version__
    assert (prefix / "share" / "man" / "man3" / "flowclass.3").stat().st_size > 10_000


@pytest.mark.needs_tool("cc")
def test_the_package_hands_out_what_a_program_compiles(tmp_path: Path) -> None:
    """``get_include`` and ``get_sources``: a host that builds the engine into itself, with no library installed."""
    source = tmp_path / "main.c"
    source.write_text(CONSUMER.replace("= fc_rule()", "= {0}").replace("= fc_key()", "= {0}"))
    sources = flowclass.get_sources()
    assert sources
    assert all(Path(path).is_file() for path in sources)
    include = f"-I{flowclass.get_include()}"
    run("cc", "-std=c11", "-O0", "-pthread", include, source, *sources, "-o", tmp_path / "main")
    assert run(tmp_path / "main") == "done 0\n"

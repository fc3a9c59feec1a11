"""A Cython module of somebody else's drives the engine: no header of ours, nothing to link with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import flowclass

pytest.importorskip("Cython")

MODULE = """
# cython: language_level=3
from libc.stdint cimport int32_t
from flowclass.engine cimport Classifier, ForwardingTable


def first_of(Classifier table, const unsigned char[::1] keys, int kernel=-1):
    cdef int32_t out[4]
    cdef size_t n = keys.shape[0] // 48
    cdef int status
    assert n <= 4
    with nogil:
        status = table.lookup(&keys[0], n, out, kernel)
    assert status == 0
    return [out[i] for i in range(n)]


def actions(ForwardingTable table, const unsigned char[::1] keys):
    cdef unsigned char out[4 * 32]
    cdef size_t n = keys.shape[0] // 48
    assert n <= 4
    with nogil:
        table.decide(&keys[0], n, -1, 1, out)
    return [out[32 * i] for i in range(n)]
"""

SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup

setup(script_args=["-q", "build_ext", "--inplace"],
      ext_modules=cythonize([Extension("user", ["user.pyx"])], quiet=True))
"""

USE = """
import flowclass as fc
import user

rules = fc.make_rules(version=6, destination_port=([443, 0], [443, 1023]))
keys = fc.make_keys(version=6, destination="2001:db8::1", destination_port=[443, 80, 8080])
octets = keys.view("u1").reshape(-1)
assert user.first_of(fc.Classifier(rules), octets) == [0, 1, -1]
table = fc.ForwardingTable()
assert user.actions(table, octets) == [0, 0, 0]
home = (0x20010DB8 << 96 | 1).to_bytes(16, "big")
table.publish(home_address=home, targets=((1, (2).to_bytes(16, "big")),), default=0)
assert user.actions(table, octets) == [1, 1, 1]
"""


def test_cython_users_need_no_header(tmp_path: Path) -> None:
    (tmp_path / "user.pyx").write_text(MODULE)
    (tmp_path / "setup.py").write_text(SETUP)
    (tmp_path / "use.py").write_text(USE)
    for script in ("setup.py", "use.py"):
        done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


STRUCTS = """
# cython: language_level=3
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from flowclass.engine cimport ForwardingTable, Fragments, check_status
from flowclass.engine.structs cimport *

check_abi()


def publish(ForwardingTable table, const uint8_t[::1] care_of, int version=6):
    '''A node with the home address 2001:db8::1 and one care-of address; its number.'''
    cdef fc_target target
    cdef fc_node node
    cdef uint32_t number = 0
    cdef int status, i
    memset(&target, 0, sizeof(target))
    memset(&node, 0, sizeof(node))
    for i in range(16):
        target.address[i] = care_of[i]
    target.bid, target.version = 7, version
    node.home.version = 6
    node.home.words[0], node.home.words[1] = 0x20010db8 << 32, 1
    node.targets, node.n_targets = &target, 1
    with nogil:
        status = table.publish_node(&node, &number)
    if status < 0:
        table.check_node(&node)
        check_status(status, "publish")
    return number


def decide(ForwardingTable table, Fragments fragments, const uint8_t[::1] packet):
    '''(action, reason, BID of the first target) of one packet that begins with its IP header.'''
    cdef uint64_t offset = 0
    cdef uint32_t length = packet.shape[0]
    cdef fc_decision decision
    cdef fc_target targets[FC_MAX_FANOUT]
    cdef uint32_t n = 0
    cdef int status
    with nogil:
        status = table.decide_packets(101, NULL, &packet[0], &offset, &length, NULL, 1, fragments.ptr, FC_KERNEL_AUTO,
                                      1, &decision)
        if status == FC_OK:
            n = table.targets_of(&decision, targets, FC_MAX_FANOUT)
    check_status(status, "packets")
    return decision.action, decision.reason, targets[0].bid if n else None


def withdraw(ForwardingTable table):
    cdef fc_address home
    memset(&home, 0, sizeof(home))
    home.version, home.words[0], home.words[1] = 6, 0x20010db8 << 32, 1
    check_status(table.withdraw_node(&home), "withdraw")
"""

STRUCTS_SETUP = """
from pathlib import Path

import flowclass
from Cython.Build import cythonize
from setuptools import Extension, setup

path = ["later"] if Path("later").is_dir() else []
header = ["header"] if Path("header").is_dir() else [flowclass.get_include()]
module = Extension("structs_user", ["structs_user.pyx"], include_dirs=header)
setup(script_args=["-q", "build_ext", "--inplace"],
      ext_modules=cythonize([module], quiet=True, include_path=path))
"""

STRUCTS_USE = """
import flowclass as fc
import structs_user as user
from flowclass.engine.packets import Fragments
from flowclass.generate.packets import TCP, Fields, ip_packet

table, fragments = fc.ForwardingTable(), Fragments()
home, correspondent = (0x20010DB8 << 96 | 1).to_bytes(16, "big"), (0x20010DB8 << 96 | 2).to_bytes(16, "big")
packet = ip_packet(Fields(correspondent, home, TCP))
assert user.decide(table, fragments, packet) == (fc.Action.NONE, fc.Reason.UNBOUND, None)
assert user.publish(table, bytes(range(0x20, 0x30))) >= 0
assert user.decide(table, fragments, packet) == (fc.Action.FORWARD, fc.Reason.DEFAULT, 7)
assert table.classify_packets([packet])["care_of"].tobytes() == bytes(range(0x20, 0x30))
user.withdraw(table)
assert len(table) == 0
for call, said in (
    (lambda: user.withdraw(table), "withdraw: no node has this home address"),
    (lambda: user.publish(table, bytes(16), 5), "node: targets[0].version: neither 4 nor 6"),
):
    try:
        call()
    except fc.ClassifierError as error:
        assert str(error).startswith(said), error
    else:
        raise AssertionError(said)
"""

ENGINE = Path(flowclass.__file__).parent / "engine"


def built(folder: Path) -> subprocess.CompletedProcess[str]:
    """The module STRUCTS, compiled and used as STRUCTS_USE does."""
    (folder / "structs_user.pyx").write_text(STRUCTS)
    (folder / "setup.py").write_text(STRUCTS_SETUP)
    (folder / "use.py").write_text(STRUCTS_USE)
    made = subprocess.run([sys.executable, "setup.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return subprocess.run([sys.executable, "use.py"], cwd=folder, capture_output=True, text=True, check=False)


def test_structs_come_from_the_header(tmp_path: Path) -> None:
    done = built(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def test_a_module_of_another_struct_layout_is_refused_with_a_sentence(tmp_path: Path) -> None:
    headers = tmp_path / "header"
    shutil.copytree(flowclass.get_include(), headers)
    header = headers / "flowclass.h"
    text = header.read_text(encoding="utf-8")
    assert "typedef struct fc_target {" in text
    header.write_text(text.replace("typedef struct fc_target {", "typedef struct fc_target { uint64_t since_then;"))
    done = built(tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "ImportError: this module was compiled against flowclass 0.1, and the"
    )
    assert done.stderr.endswith("compile the module again\n")


@pytest.mark.parametrize("later", [True, False])
def test_a_module_of_other_methods_is_refused_or_works(tmp_path: Path, later: bool) -> None:
    """One that knows a method which the installed flowclass lacks does not load; one that knows fewer does."""
    package = tmp_path / "later" / "flowclass"
    shutil.copytree(ENGINE, package / "engine", ignore=shutil.ignore_patterns("*.so", "*.py", "*.pyx", "__pycache__"))
    (package / "__init__.pxd").touch()
    changed = package / "engine" / "forwarding.pxd"
    text, last = changed.read_text(encoding="utf-8"), "cdef int check_node(self, const void *node) except -1\n"
    assert text.count("appended[1]") == text.count(last) == 1
    if later:
        text = text.replace("appended[1]", "appended[2]")
        text = text.replace(last, f"{last}    cdef int not_yet(self) noexcept nogil\n")
    else:
        text = text.replace("    cdef void *appended[1]\n", "")
    changed.write_text(text)
    done = built(tmp_path)
    if later:
        assert done.returncode == 1, done.stdout
        assert "ForwardingTable size changed, may indicate binary incompatibility" in done.stderr.splitlines()[-1]
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""

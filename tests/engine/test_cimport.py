"""A Cython module of somebody else's drives the engine: no header of ours, nothing to link with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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

"""The compiled module; everything else is in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(ext_modules=cythonize([Extension("flowcount.fast", ["src/flowcount/fast.pyx"])]))

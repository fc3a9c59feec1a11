"""Bindings as columns: .npz and .parquet files for very many nodes (docs/interfaces.md).

Both have the keys of a bindings file. A .parquet file has a row for each node, with its lists inside. An .npz file has
an array for each key, named by the key's path; the rows of a list say by ``node`` which node they belong to, and rise.
Here they become the same shapes as a file of text, block by block, and `read` checks their values.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise, repeat
from typing import Any, Final, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from flowclass.errors import BindingsFileError

from .shapes import LISTS, CareOfShape, FlowShape, SelectorShape, WholeNodeShape

__all__ = ["read_columns"]

_BLOCK: Final = 1 << 14  # nodes at a time
_LARGEST: Final = 1 << 33  # octets of the arrays of an .npz file, which may be packed very small
_NODE: Final = ("home_address", "ipv4_home_address")
_ARRAYS: Final = (
    "profile",
    *_NODE,
    *(f"{name}.{column}" for name, columns in LISTS.items() for column in ("node", *columns)),
)

_ONLY_TEXT: Final = ("profile", *_NODE, "prefixes", "prefix", "address", "action", "source", "destination")
"""The last parts of the paths of columns that have no numbers."""

Column = Sequence[Any]


class _List(NamedTuple):
    """The rows of one list in a block: those of its i-th node are ``ends[i]`` to ``ends[i + 1]`` of each column."""

    ends: list[int]
    columns: Mapping[str, Column]


class _Block(NamedTuple):
    nodes: Mapping[str, Column]
    lists: Mapping[str, _List]


def read_columns(file: str) -> tuple[Literal["draft", "rfc6089"], Iterator[WholeNodeShape]]:
    """The profile of a columnar file, and its nodes. Raises `BindingsFileError`."""
    if os.path.exists(file) and not (os.path.isfile(file) or os.path.isdir(file)):  # pyarrow would wait for ever
        raise BindingsFileError("a file expected: columns are not read in order, as a pipe gives them", file=file)
    if file.lower().endswith(".npz"):
        arrays = _arrays(file)
        return _profile(file, arrays["profile"].item() if "profile" in arrays else None), _shapes(
            _array_blocks(file, arrays)
        )
    return _parquet(file)


def _profile(file: str, value: Any) -> Literal["draft", "rfc6089"]:
    name = "draft" if value is None else value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    if name not in ("draft", "rfc6089"):
        raise BindingsFileError(f"{name!r} is no profile: expected draft or rfc6089", file=file, path="profile")
    return cast("Literal['draft', 'rfc6089']", name)


def _shapes(blocks: Iterator[_Block]) -> Iterator[WholeNodeShape]:
    for block in blocks:
        homes = block.nodes["home_address"]
        ipv4 = block.nodes.get("ipv4_home_address", repeat(UNSET))
        # LISTS are in the order of the shape's last fields
        yield from map(WholeNodeShape, homes, ipv4, *(_of_nodes(name, block.lists.get(name)) for name in LISTS))


def _of_nodes(name: str, given: _List | None) -> Iterable[Any]:
    """The rows of a list for each node."""
    if given is None:
        return repeat(UNSET)
    rows = _rows(name, given)
    return [rows[start:end] for start, end in pairwise(given.ends)]


def _rows(name: str, given: _List) -> list[Any]:
    """The values of all rows of a list."""
    columns, n = given.columns, given.ends[-1]
    values = [columns.get(column, [UNSET] * n) for column in LISTS[name]]
    if name == "prefixes":
        return list(values[0])
    if name == "care_of":
        return list(map(CareOfShape, *values))
    *first, bids = values[:4]
    some = any(column.startswith("selector.") for column in columns)
    selectors = map(SelectorShape, *values[4:]) if some else repeat(UNSET)
    return list(map(FlowShape, *first, bids, selectors))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


# ---- .npz


def _arrays(file: str) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(file) as members:
            if sum(member.file_size for member in members.infolist()) > _LARGEST:
                raise BindingsFileError(f"more than {_LARGEST >> 30} GiB, unpacked", file=file)
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except BindingsFileError:
        raise
    except OSError as error:
        raise BindingsFileError(error.strerror or str(error), file=file) from None
    except Exception as error:  # zip, its compressions, and the headers of arrays: each has exceptions of its own
        raise BindingsFileError(f"no .npz file of arrays: {_one_line(error)}", file=file) from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise _wrong(file, name, "no array (a member of an .npz file is called NAME.npy)")
        if name not in _ARRAYS:
            close = get_close_matches(name, _ARRAYS, 1)
            raise _wrong(file, name, f"unknown column{f': did you mean {close[0]}?' if close else ''}")
        text = name.rpartition(".")[2] in _ONLY_TEXT
        dimensions = 0 if name == "profile" else 2 if name == "flow.bids" else 1
        if array.ndim != dimensions or array.dtype.kind not in ("US" if text else "iuUS"):
            expected = f"{dimensions} dimensions of {'texts' if text else 'integers or texts'}"
            raise _wrong(file, name, f"expected {expected}, got {array.ndim} dimensions of {array.dtype}")
        if not _is_unicode(array):
            raise _wrong(file, name, "no Unicode text")
    return arrays


def _is_unicode(array: npt.NDArray[Any]) -> bool:
    """False for an array of dtype U with characters that Python can't have, on which numpy fails."""
    if array.dtype.kind != "U" or array.dtype.itemsize == 0:
        return True
    characters = np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
    return bool(characters.max(initial=0) <= sys.maxunicode)


def _wrong(file: str, column: str, what: str) -> BindingsFileError:
    return BindingsFileError(what, file=file, path=column)


def _array_blocks(file: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Iterator[_Block]:
    if "home_address" not in arrays:
        raise _wrong(file, "home_address", "the column is missing")
    n = len(arrays["home_address"])
    tables = {name: _table(file, name, n, arrays) for name in LISTS if any(a.startswith(f"{name}.") for a in arrays)}
    further = arrays.get("ipv4_home_address")
    if further is not None and len(further) != n:
        raise _wrong(file, "ipv4_home_address", f"expected {n} values, as home_address has, got {len(further)}")
    for start, stop in pairwise([*range(0, n, _BLOCK), n]):
        nodes = {name: _values(arrays[name][start:stop]) for name in _NODE if name in arrays}
        lists = {}
        for name, (ends, columns) in tables.items():
            first, last = int(ends[start]), int(ends[stop])
            its = {column: _values(array[first:last]) for column, array in columns.items()}
            lists[name] = _List((ends[start : stop + 1] - first).tolist(), its)
        yield _Block(nodes, lists)


def _table(
    file: str, name: str, n: int, arrays: Mapping[str, npt.NDArray[Any]]
) -> tuple[npt.NDArray[np.intp], dict[str, npt.NDArray[Any]]]:
    """Where the rows of each of the ``n`` nodes end, and the columns."""
    columns = {column: arrays[f"{name}.{column}"] for column in LISTS[name] if f"{name}.{column}" in arrays}
    whose = arrays.get(f"{name}.node")
    required = {"prefixes": ("prefix",), "care_of": ("bid", "address"), "flow": ("fid", "pri")}[name]
    for column in (*(() if whose is not None else ("node",)), *(c for c in required if c not in columns)):
        raise _wrong(file, f"{name}.{column}", "the column is missing")
    assert whose is not None
    if whose.dtype.kind not in "iu":
        raise _wrong(file, f"{name}.node", f"expected integers, got {whose.dtype}")
    for column, array in columns.items():
        if len(array) != len(whose):
            raise _wrong(
                file, f"{name}.{column}", f"expected {len(whose)} values, as {name}.node has, got {len(array)}"
            )
    bad = np.flatnonzero((whose < 0) | (whose >= n))
    if len(bad):
        raise _wrong(file, f"{name}.node[{bad[0]}]", f"expected the index of one of {n} nodes, got {whose[bad[0]]}")
    down = np.flatnonzero(whose[1:] < whose[:-1])
    if len(down):
        raise _wrong(file, f"{name}.node[{down[0] + 1}]", f"expected rising numbers, got {whose[down[0] + 1]} behind"
                     f" {whose[down[0]]}")  # fmt: skip
    return np.searchsorted(whose, np.arange(n + 1)), columns


def _values(array: npt.NDArray[Any]) -> Column:
    """The values of a column: texts and integers; UNSET for an empty text and a negative number, which mean none."""
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "surrogateescape")
    values = array.tolist()
    if array.ndim == 2:  # BIDs, behind which 0 and the empty text fill a row
        return [[bid for bid in row if bid not in ("", 0)] for row in values]
    none = (array == "").any() if array.dtype.kind == "U" else array.dtype.kind == "i" and (array < 0).any()
    if none:
        return [UNSET if value == "" or (type(value) is int and value < 0) else value for value in values]
    return cast("Column", values)


# ---- .parquet


def _parquet(file: str) -> tuple[Literal["draft", "rfc6089"], Iterator[WholeNodeShape]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise BindingsFileError("Parquet takes pyarrow: pip install 'flowclass[parquet]'", file=file) from None
    try:
        opened = pq.ParquetFile(file)
        names = opened.schema_arrow.names
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise BindingsFileError(
            getattr(error, "strerror", None) or f"no Parquet file: {_one_line(error)}", file=file
        ) from None
    for name in names:
        if name not in (*_NODE, *LISTS):
            raise _wrong(file, name, "unknown column")
        if names.count(name) > 1:
            raise _wrong(file, name, "the column is there twice")
    if "home_address" not in names:
        raise _wrong(file, "home_address", "the column is missing")
    profile = _profile(file, (opened.schema_arrow.metadata or {}).get(b"profile"))

    def blocks() -> Iterator[_Block]:
        try:
            for batch in opened.iter_batches(_BLOCK):
                nodes = {name: _arrow_values(file, name, batch[name]) for name in _NODE if name in names}
                yield _Block(nodes, {name: _arrow_list(file, name, batch[name]) for name in LISTS if name in names})
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:  # the names of structs may be no UTF-8
            raise BindingsFileError(f"no whole Parquet file: {_one_line(error)}", file=file) from None

    return profile, _shapes(blocks())


def _arrow_list(file: str, name: str, array: Any) -> _List:
    import pyarrow as pa

    if pa.types.is_null(array.type):  # a list that no node has
        return _List([0] * (len(array) + 1), {"prefix": []} if name in ("prefixes", "flow.bids") else {})
    if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
        raise _wrong(file, name, f"expected a list, got {array.type}")
    ends = np.append(0, np.cumsum(array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))).tolist()
    rows = array.flatten()
    if name in ("prefixes", "flow.bids"):
        return _List(ends, {"prefix": _arrow_values(file, name, rows)})
    return _List(ends, dict(_arrow_columns(file, name, "", rows)))


def _arrow_columns(file: str, name: str, prefix: str, rows: Any) -> Iterator[tuple[str, Column]]:
    """The columns of structs, and of the selectors in them."""
    import pyarrow as pa

    if not pa.types.is_struct(rows.type):
        raise _wrong(file, name, f"expected structs, got {rows.type}")
    for field, array in zip(rows.type, rows.flatten(), strict=True):
        column, path = f"{prefix}{field.name}", f"{name}.{field.name}"
        if len(rows.type.get_all_field_indices(field.name)) > 1:
            raise _wrong(file, path, "the column is there twice")
        if column == "selector":
            yield from _arrow_columns(file, path, "selector.", array)
        elif column not in LISTS[name.partition(".")[0]]:
            raise _wrong(file, path, "unknown column")
        elif column == "bids":
            bids = _arrow_list(file, path, array)
            yield column, [bids.columns["prefix"][a:b] for a, b in pairwise(bids.ends)]
        else:
            yield column, _arrow_values(file, path, array)


def _arrow_values(file: str, path: str, array: Any) -> Column:
    import pyarrow as pa

    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    text = path.rpartition(".")[2] in _ONLY_TEXT
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
    if not (is_text or (pa.types.is_integer(kind) and not text)):
        raise _wrong(file, path, f"expected texts{'' if text else ' or integers'}, got {array.type}")
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        # an array of objects: a third of the time of to_pylist; of integers with nulls numpy would make floats
        values = array.to_numpy(zero_copy_only=False).tolist() if is_text or not array.null_count else array.to_pylist()
    except (UnicodeDecodeError, pa.ArrowException) as error:  # which of the two depends on pyarrow's version
        if isinstance(error, MemoryError) or not is_text:
            raise
        raise _wrong(file, path, "not UTF-8") from None
    return [UNSET if value is None else value for value in values] if array.null_count else values

import numpy as np
import numpy.typing as npt

__all__ = ["first_match"]

def first_match(rules: npt.NDArray[np.void], keys: npt.NDArray[np.void]) -> npt.NDArray[np.int32]: ...

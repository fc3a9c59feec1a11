import numpy as np
import numpy.typing as npt

def first_match(rules: npt.NDArray[np.void], keys: npt.NDArray[np.void]) -> npt.NDArray[np.int32]: ...

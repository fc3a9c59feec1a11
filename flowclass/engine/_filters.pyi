import numpy as np
import numpy.typing as npt

__all__ = ["usual_filters"]

def usual_filters(data: bytes) -> npt.NDArray[np.void] | None: ...

"""The classifier engine: rules and keys as arrays, the compiled tables, and the forwarding table."""

import warnings

# A module compiled against an earlier forwarding.pxd finds longer objects than it knew: methods are only appended.
warnings.filterwarnings("ignore", message=r"flowclass\.engine\.\w+\.\w+ size changed", category=RuntimeWarning)

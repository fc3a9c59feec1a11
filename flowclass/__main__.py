"""``python -m flowclass``."""

import sys

from flowclass.cli import main

sys.exit(main())

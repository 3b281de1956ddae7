"""Let `python -m ndpresponder` behave exactly like the `ndpresponder` command."""

import sys

from ndpresponder.cli import main

sys.exit(main())

"""Let `python -m ndpresponder` behave exactly like the `ndpresponder` command."""

import sys

from ndpresponder.cli.main import main

sys.exit(main())

"""How a benchmark ends."""

import sys
from collections.abc import Callable
from pathlib import Path

from programs import BenchError


def exit_code(main: Callable[[], int]) -> int:
    """Run a benchmark; 2 is for what a person has to put right first, of which a line is printed."""
    try:
        return main()
    except BenchError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130

"""`python -m nnbackprop` and the command nnbackprop."""

import sys


def main() -> None:
    """The command line; Ctrl-C while it is still being imported ends it without a traceback."""
    try:
        from nnbackprop.cli import main as command_line
    except KeyboardInterrupt:
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    main()

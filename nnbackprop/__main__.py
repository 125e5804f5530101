"""`python -m nnbackprop` and the command nnbackprop."""

import sys


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. After a plain KeyboardInterrupt out of `exec`, `python -m` ends by the signal, not by our status."""


def main() -> None:
    """Run the command line; Ctrl-C, also while it is being imported, ends it without a traceback."""
    try:
        import gc
        import signal

        gc.set_threshold(20_000)  # imports free nothing: a tenth of their time went into looking
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nohup ignores it
            signal.signal(signal.SIGINT, _interrupt)
        from nnbackprop.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(*_: object) -> None:
    raise Interrupted


if __name__ == "__main__":
    main()

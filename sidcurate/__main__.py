"""The program: `sidcurate`, or `python -m sidcurate`."""

import signal


def start() -> None:
    """Run the command line; a Ctrl-C waits until there is somebody to handle it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    from sidcurate.cli import main

    main()


if __name__ == "__main__":
    start()

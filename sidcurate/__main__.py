"""`python -m sidcurate` is `sidcurate`."""

from sidcurate.cli import main

main()

"""python -m texsyn is the command texsyn."""

from texsyn.cli import main

if __name__ == "__main__":
    main()

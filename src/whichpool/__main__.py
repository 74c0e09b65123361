"""``python -m whichpool`` is the command line."""

from whichpool.cli import main

if __name__ == "__main__":
    main()

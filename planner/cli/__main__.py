"""`python -m planner.cli`: the command, for programs that know their interpreter."""

from planner.cli.app import main

if __name__ == "__main__":
    main()

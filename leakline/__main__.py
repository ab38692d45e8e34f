"""`python -m leakline`: the command line."""

from leakline.cli import main

if __name__ == "__main__":
    main()

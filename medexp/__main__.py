"""`python -m medexp` is the `medexp` command."""

from medexp.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

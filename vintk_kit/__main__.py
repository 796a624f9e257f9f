"""`python -m vintk_kit` is the `vintk` command."""

from vintk_kit.cli import main

if __name__ == "__main__":
    main()

"""The command line: one module per command, joined in `celosia.cli.app`.

Commands print for people, write records with `--json FILE`, and end with exit status 2 for bad
input and 1 for a failed check.
"""

__all__ = ["main"]


def main() -> None:
    """Run the `celosia` command."""
    from celosia.cli.app import main as run

    run()

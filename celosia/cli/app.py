"""The `celosia` command: parses the line, runs a command, turns errors into messages."""

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from celosia.cli.boards import boards_command
from celosia.cli.common import console
from celosia.cli.compile import compile_command
from celosia.cli.doctor import doctor_command
from celosia.cli.fit import fit_command
from celosia.cli.generate import generate_command
from celosia.cli.models import models_command
from celosia.cli.profile import profile_command
from celosia.cli.program import program_command
from celosia.cli.run import run_command
from celosia.cli.selftest import selftest_command
from celosia.cli.simulate import simulate_command
from celosia.cli.synthesis import synthesize_command
from celosia.errors import CelosiaError

__all__ = ["app", "main", "run"]

ABOUT = """
Celosia generates transformer accelerators.

From one configuration it makes the hardware, its bit-exact twin in NumPy, the program that maps
a trained model onto it, the simulation that compares the two, and the bitstream for a board.

A first tour, on the digits model that comes with it:

    celosia compile digits_vit -c tiny -o P

    celosia run P --device golden --dataset digits

    celosia simulate P --dataset digits --limit 2
"""

app = typer.Typer(
    add_completion=False,
    help=ABOUT,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("models")(models_command)
app.command("boards")(boards_command)
app.command("fit")(fit_command)
app.command("compile")(compile_command)
app.command("generate")(generate_command)
app.command("simulate")(simulate_command)
app.command("synthesize")(synthesize_command)
app.command("program")(program_command)
app.command("run")(run_command)
app.command("selftest")(selftest_command)
app.command("profile")(profile_command)
app.command("doctor")(doctor_command)


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where in the program an error arose.")
    ] = False,
) -> None:
    """Take what applies to every command; `run` itself has seen `--debug`."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit status."""
    words = [word for word in arguments if word != "--debug"]
    debug = len(words) < len(arguments)
    try:
        status = typer.main.get_command(app).main(
            words or ["--help"], prog_name="celosia", standalone_mode=False
        )
        return status if isinstance(status, int) else 0
    except CelosiaError as error:
        if debug:
            traceback.print_exc()
        _say(f"error: {error}")
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        _say("stopped")
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is None and not debug:
            _say(
                f"error: unexpected {type(error).__name__}: {error}\n"
                "this is a mistake in celosia; --debug shows where"
            )
            return 1
        if debug:
            traceback.print_exc()
        if message is not None:
            _say(f"error: {message()} `celosia {_command(words)}--help` explains")
            return 2
        return 1


def _command(words: Sequence[str]) -> str:
    known = {command.name for command in app.registered_commands}
    return next((f"{word} " for word in words if word in known), "")


def _say(text: str) -> None:
    console.print(Text(text), soft_wrap=True)


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))

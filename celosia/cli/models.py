"""`celosia models`: what can be compiled."""

from rich.table import Table

from celosia.cli.common import JsonOption, out, write_record

__all__ = ["models_command"]


def models_command(json: JsonOption = None) -> None:
    """List the checkpoints that can be compiled, and what each needs.

    A model is named by its name here, or by the path of a folder in the layout of Hugging Face.
    """
    from celosia.compiler.checkpoint import list_models

    models = list_models()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("model", "family", "what", "needs"):
        table.add_column(heading, overflow="fold")
    for model in models:
        table.add_row(model.name, model.family, model.description, model.needs or "nothing more")
    out.print(table)
    record = [
        {
            "name": model.name,
            "family": model.family,
            "description": model.description,
            "installed": model.path is not None,
            "needs": model.needs,
        }
        for model in models
    ]
    write_record(json, {"models": record})

"""Verilator under cocotb: build a simulation of some Verilog once, run cocotb modules on it.

cocotb's own runner makes every signal visible (`--public-flat-rw`), which keeps Verilator from
optimising anything: a 16x16 array then builds five times slower and runs seven times slower. Here
only the ports of the top module are visible, and `visible` names what else must be.

Builds live in a cache. The directory of a build is named by the hash of everything that goes into
it, so equal Verilog is compiled once, and a changed line can never meet an old simulation.
"""

import contextlib
import fcntl
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

from celosia.errors import CheckFailed, ToolError
from celosia.runtime import verilator_members
from celosia.runtime.verilator_tools import (
    MAKE_VARIABLES,
    module_ports,
    tool_versions,
    verilator_environment,
)

__all__ = ["Simulation", "build_simulation", "run_simulation"]

#: Assertions of the design stop the run. Amaranth has no unknown values, and its Verilog leaves
#: widths to the language; cases without a default follow an assignment of it; a
#: port may bear a name that C++ knows.
FLAGS = ["-O3", "--assert", "--x-assign", "fast", "--x-initial", "fast"]
QUIET = ["-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE", "-Wno-SYMRSVDWORD"]

#: Lines of a log that an error message shows.
TAIL = 12

#: What a build that is to be quick does without, and how much its C++ is optimised: it takes two
#: thirds of the time, and a run of seconds is no slower.
QUICK = ["-fno-merge-cond"]
QUICK_LEVEL, LEVEL = 1, 3


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A compiled simulation, ready to run any number of times, also at once."""

    #: Where the executable is; its log of the build is `build.log` beside it.
    directory: Path
    #: Name of the top module, and of the executable.
    top: str


def _digest(inputs: Iterable[str]) -> str:
    return sha256("\0".join(inputs).encode()).hexdigest()[:32]


def _visibility(top: str, names: Iterable[str]) -> str:
    lines = ["`verilator_config"]
    lines += [f'public_flat_rw -module "{top}" -var "{name}"' for name in names]
    return "\n".join(lines) + "\n"


def _compile(
    directory: Path,
    top: str,
    sources: Sequence[Path],
    flags: Sequence[str],
    *,
    level: int,
    waves: bool,
) -> None:
    from cocotb_tools.runner import Verilator

    # For several threads Verilator itself has put together what each of them uses.
    one_thread = "--threads" not in flags
    borrowed = [compiled.name for compiled in directory.glob("verilated*.o")]

    class PortsOnly(Verilator):
        def _build_command(self):
            verilate, make = super()._build_command()
            verilate.remove("--public-flat-rw")
            sort = [sys.executable, verilator_members.__file__, str(directory)]
            # Make takes the borrowed objects for outdated, being older than its own makefile.
            make += [word for name in borrowed for word in ("-o", name)]
            make.append(f"OPT_FAST=-O{level}")
            return [verilate, *([sort] if one_thread else []), make]

        def _set_env_build(self) -> None:
            super()._set_env_build()
            self.env.update(verilator_environment())

        def _simulator_in_path_build_only(self) -> None:
            self.executable = str(Path(verilator_environment()["VERILATOR_ROOT"], "bin/verilator"))

    PortsOnly().build(
        sources=sources,
        hdl_toplevel=top,
        build_dir=directory,
        build_args=flags,
        timescale=("1ns", "1ps"),
        waves=waves,
        log_file=directory / "build.log",
    )


def _borrow_runtime(runtime: Path, work: Path) -> None:
    """Put Verilator's own objects, compiled for an earlier design, where make will find them."""
    for compiled in runtime.glob("*.o"):
        shutil.copyfile(compiled, work / compiled.name)


def _keep_runtime(runtime: Path, work: Path) -> None:
    """Keep Verilator's own objects for the next design, and drop what only make needed."""
    if not runtime.is_dir():
        kept = Path(tempfile.mkdtemp(dir=runtime.parent, prefix=f"{runtime.name}."))
        for compiled in work.glob("verilated*.o"):
            compiled.rename(kept / compiled.name)
        try:
            kept.rename(runtime)
        except OSError:  # another process was first
            shutil.rmtree(kept)
    for left in [*work.glob("Vtop*"), *work.glob("verilat*.[do]")]:
        left.unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    errors = [line for line in lines if "%Error" in line or "%Warning" in line or "error:" in line]
    return "\n".join(errors[:TAIL] or lines[-TAIL:])


def build_simulation(
    verilog_path: Path,
    top: str,
    cache: Path,
    *,
    lint: bool = False,
    threads: int = 1,
    timing: bool = False,
    extra_sources: Sequence[Path] = (),
    visible: Sequence[str] = (),
    quick: bool = True,
    waves: bool = False,
) -> Simulation:
    """Compile Verilog into a simulation, or find the one compiled before.

    Parameters
    ----------
    verilog_path : Path
        The Verilog of the design.
    top : str
        The module to simulate, in `verilog_path` or in one of `extra_sources`.
    cache : Path
        Where builds are kept, each in a directory named by the hash of its inputs. Several
        processes may build in it at once.
    lint : bool
        Whether Verilator's warnings about the Verilog are errors.
    threads : int
        Threads that the simulation runs on.
    timing : bool
        Whether the Verilog has delays, such as those of a clock of its own.
    extra_sources : sequence of Path
        More Verilog, such as a model of a memory around the design.
    visible : sequence of str
        Signals of the top module that the bench can see, besides the ports.
    quick : bool
        Whether the build is to be quick, for runs of seconds, or runs are to be fast.
    waves : bool
        Whether runs may write waveforms.

    Raises
    ------
    ToolError
        If a tool is missing, or refuses the Verilog.
    """
    verilator_environment()
    sources = [Path(verilog_path), *map(Path, extra_sources)]
    texts = [source.read_text() for source in sources]
    names = [*module_ports("\n".join(texts), top), *visible]
    flags = [*FLAGS, *QUIET, *([] if lint else ["-Wno-lint", "-Wno-style", "-Wno-fatal"])]
    flags += ["--threads", str(threads)] if threads > 1 else []
    flags += ["--timing"] if timing else []
    flags += QUICK if quick else []
    level = QUICK_LEVEL if quick else LEVEL
    control = _visibility(top, names)
    tools = [str(MAKE_VARIABLES), tool_versions()]
    setting = [*flags, f"{level} {waves}", *tools]
    order = Path(verilator_members.__file__).read_text()
    digest = _digest([*setting, top, control, order, *texts])

    cache = Path(cache).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    directory = cache / digest
    # Verilator's own objects are the same for all designs, lint or not.
    runtime = cache / f"runtime-{_digest([f'{threads} {timing} {waves}', *tools])}"
    simulation = Simulation(directory=directory, top=top)
    if directory.is_dir():
        return simulation
    with _locked(cache / f"{digest}.lock"):
        if directory.is_dir():
            return simulation
        work = Path(tempfile.mkdtemp(dir=cache, prefix=f"{digest}."))
        try:
            copies = [work / f"source_{number}.v" for number in range(len(texts))]
            for copy, text in zip(copies, texts, strict=True):
                copy.write_text(text)
            (work / "ports.vlt").write_text(control)
            _borrow_runtime(runtime, work)
            _compile(work, top, [work / "ports.vlt", *copies], flags, level=level, waves=waves)
            _keep_runtime(runtime, work)
            work.rename(directory)
        except RuntimeError as error:
            raise ToolError(
                f"{verilog_path}: Verilator cannot build it:\n{_tail(work / 'build.log')}"
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return simulation


def _failures(results: Path) -> tuple[int, list[str]]:
    """Count the tests in cocotb's result file, and describe the ones that failed."""
    cases = ElementTree.parse(results).getroot().findall(".//testcase")
    failed = []
    for case in cases:
        for verdict in (*case.findall("failure"), *case.findall("error")):
            text = (verdict.get("error_msg") or verdict.get("message") or "").strip()
            failed.append(f"{case.get('name')}: {text}".rstrip(": "))
    return len(cases), failed


def run_simulation(
    simulation: Simulation,
    test_module: str,
    run_dir: Path,
    *,
    seed: int = 1,
    env: Mapping[str, object] | None = None,
    plusargs: Sequence[str] = (),
    testcase: str | None = None,
    waves: bool = False,
) -> int:
    """Run the cocotb tests of `test_module`, and return how many there were.

    The process sees the same `sys.path` as this one, `env` and the plusargs. What it prints goes
    to `simulation.log` in `run_dir`, and cocotb's results to an XML file there.

    Raises
    ------
    CheckFailed
        If a test failed, or the simulation ended before all were run.
    """
    from cocotb_tools.runner import Verilator

    variables = {name: str(value) for name, value in (env or {}).items()}

    class Runner(Verilator):
        def _set_env_test(self) -> None:
            super()._set_env_test()
            self.env.update(variables)  # cocotb lets the caller's environment win

    run_dir = Path(run_dir).resolve()
    run_dir.mkdir(parents=True, exist_ok=True)
    log = run_dir / "simulation.log"
    results = run_dir / "results.xml"
    ended = True
    try:
        Runner().test(
            hdl_toplevel=simulation.top,
            hdl_toplevel_lang="verilog",
            test_module=test_module,
            testcase=testcase,
            build_dir=simulation.directory,
            test_dir=run_dir,
            seed=seed,
            plusargs=list(plusargs),
            results_xml=str(results),
            waves=waves,
            log_file=log,
        )
    except SystemExit:  # what cocotb makes of a failed test under pytest
        ended = results.exists()
    except RuntimeError:  # the simulator stopped with an error, such as a failed assertion
        ended = False
    if not ended:
        raise CheckFailed(f"{test_module}: the simulation ended early; see {log}\n{_tail(log)}")
    count, failed = _failures(results)
    if failed or not count:
        what = "\n".join(failed) or "no test was found in it"
        raise CheckFailed(
            f"{test_module}: {len(failed)} of {count} tests failed; see {log}\n{what}"
        )
    return count

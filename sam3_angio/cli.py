"""The command line: ``sam3-angio …``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sam3_angio import __version__
from sam3_angio.analysis.commands import commands as analysis_commands
from sam3_angio.command import reporting
from sam3_angio.errors import AngioError, ConfigError, DataError
from sam3_angio.exchange.commands import commands as exchange_commands

if TYPE_CHECKING:
    from sam3_angio.checking.finding import CheckReport


class PrimarySignOption(StrEnum):
    """Side towards which a table's primary angle is positive."""

    RAO = "RAO+"
    LAO = "LAO+"


_commands = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="SAM 3 on coronary angiograms. Research use only; not a medical device.",
)
_commands.add_typer(analysis_commands)
_commands.add_typer(exchange_commands)


def app() -> None:
    """Run the command line; what a user can mend is printed without a traceback."""
    with reporting():
        _commands()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@_commands.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    pass


@_commands.command()
def phantom(
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("data"),
    patients: Annotated[int, typer.Option(min=1, help="Number of patients.")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other patients.")] = 0,
    processes: Annotated[int, typer.Option(min=0, help="Worker processes; 0 = all cores.")] = 0,
    force: Annotated[bool, typer.Option(help="Replace the folder if it exists.")] = False,
) -> None:
    """Simulate a data set: DICOM runs, table, labels, and the truth beside them.

    Example: sam3-angio phantom --out data --patients 12 --seed 7
    """
    from sam3_angio.phantom.dataset import write_phantom
    from sam3_angio.report.intake import summary_table

    summary = write_phantom(out, patients=patients, seed=seed, processes=processes, force=force)
    Console().print(summary_table(summary))


@_commands.command("import")
def import_(
    csv: Annotated[Path, typer.Option(help="The site's table.", exists=True, dir_okay=False)],
    dicom_root: Annotated[Path, typer.Option(help="Folder in which all runs lie.")],
    primary_sign: Annotated[
        PrimarySignOption,
        typer.Option(help="Side towards which the table's primary_angle is positive."),
    ],
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help=r"Path prefix and its place here: 'E:\Angios=/mnt/e/Angios'."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Data folder to write.")] = Path("data"),
    faults: Annotated[Path, typer.Option(help="Where to list faults.")] = Path("import_faults.csv"),
    processes: Annotated[int, typer.Option(min=0, help="Files at once; 0 = all cores.")] = 0,
) -> None:
    r"""Take in a site's table: validate every row and file, pin the runs, copy the labels.

    Example: sam3-angio import --csv table.csv --dicom-root /mnt/e/Angios
    --map 'E:\Angios=/mnt/e/Angios' --primary-sign RAO+
    """
    from sam3_angio.intake import import_table
    from sam3_angio.report.intake import fault_table, summary_table, write_faults

    _require_writable("--faults", faults)
    console = Console()
    try:
        summary = import_table(
            csv,
            out,
            dicom_root=dicom_root,
            primary_sign=primary_sign.value,
            path_maps=map_ or (),
            processes=processes,
        )
    except DataError as error:
        write_faults(faults, error.faults)
        console.print(fault_table(error.faults))
        raise DataError(f"{error.headline} All faults are listed in {faults.name}.") from error
    if summary.warnings or faults.exists():  # a list of earlier faults would mislead
        write_faults(faults, summary.warnings)
    if summary.warnings:
        console.print(fault_table(summary.warnings))
    console.print(summary_table(summary))


@_commands.command()
def check(  # noqa: PLR0913, PLR0917 - a command's options are its parameters
    target: Annotated[
        Path, typer.Argument(help="Data folder, or a site's table before its import.")
    ] = Path("data"),
    dicom_root: Annotated[
        Path | None,
        typer.Option(help="Folder in which all runs lie; default: data.dicom_root in params.yaml."),
    ] = None,
    primary_sign: Annotated[
        PrimarySignOption | None, typer.Option(help="For a table: as for import.")
    ] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="For a table: as for import.")
    ] = None,
    decode: Annotated[bool, typer.Option(help="Decode each analysed frame, too.")] = True,
    cache: Annotated[
        bool, typer.Option("--cache", help="Check DVC's cache instead: content against names.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the findings as JSON.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write the findings as CSV.")
    ] = None,
) -> None:
    """Find every fault of a data set; exit code 1 if there is an error.

    Example: sam3-angio check --json findings.json
    """
    from sam3_angio.checking.listing import finding_table, summary, write_csv, write_report

    _require_writable("--json", json_file)
    _require_writable("--csv", csv_file)
    if cache:
        from sam3_angio.checking.cache import cache_folder, check_cache

        report, counted = check_cache(cache_folder(Path.cwd())), "files"
    else:
        report, counted = _checked(target, dicom_root, primary_sign, map_ or (), decode), "rows"
    if json_file:
        write_report(json_file, report)
    if csv_file:
        write_csv(csv_file, report)
    console = Console()
    if report.findings:
        console.print(finding_table(report))
    console.print(summary(report, counted), highlight=False)
    raise typer.Exit(code=1 if report.errors else 0)


def _require_writable(option: str, path: Path | None) -> None:
    """Refuse a file that could not be written after a check that may take minutes.

    Raises
    ------
    ConfigError
        It is a folder, or its folder does not exist; neither is named.
    """
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{option} is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise ConfigError(f"The folder of {option} does not exist.")


def _checked(
    target: Path,
    dicom_root: Path | None,
    primary_sign: PrimarySignOption | None,
    path_maps: Sequence[str],
    decode: bool,
) -> CheckReport:
    """Check a data folder, or a site's table."""
    from sam3_angio.checking.data_set import check_data, check_site
    from sam3_angio.config import load_config

    root = dicom_root or Path(load_config().data.dicom_root)
    if target.is_dir():
        return check_data(target, dicom_root=root, decode=decode)
    if primary_sign is None:
        raise ConfigError("A site's table needs --primary-sign: RAO+ or LAO+.")
    return check_site(
        target,
        dicom_root=root,
        primary_sign=primary_sign.value,
        path_maps=path_maps,
        decode=decode,
    )


@_commands.command()
def guard(
    history: Annotated[
        bool, typer.Option("--history", help="Look at all that is in Git, not at what is staged.")
    ] = False,
) -> None:
    """Refuse patients' data in what is about to be committed; hooks/pre-commit runs this.

    Example: git config core.hooksPath hooks
    """
    from sam3_angio.disclosure import history_disclosures, staged_disclosures

    faults = (history_disclosures if history else staged_disclosures)(Path.cwd())
    if faults:
        raise DataError("Patients' data would be disclosed:", faults)


@_commands.command("pretrain-tiny")
def pretrain_tiny(
    out: Annotated[Path, typer.Option(help="Folder of tiny.pt and its card.")] = Path(
        "models/tiny"
    ),
    workers: Annotated[
        int, typer.Option(min=1, help="Processes; another number is another run.")
    ] = 2,
) -> None:
    """Train the tiny model on drawn scenes, for hours; the weights that ship came from this.

    An interrupted run resumes. Example: sam3-angio pretrain-tiny --out models/tiny
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    work = ["-m", "sam3_angio.detector.pretraining", "--out", str(out)]
    done = subprocess.run([*launcher, f"--nproc_per_node={workers}", *work], check=False)
    if done.returncode:
        raise AngioError("The pretraining ended early; its workers say above why.")


@_commands.command()
def join(
    stages: Annotated[
        list[str] | None, typer.Argument(help="Which to help with; all that train if none.")
    ] = None,
) -> None:
    """Help another machine, where `dvc repro` runs, to train; one stage after the other.

    SAM3_ANGIO_RENDEZVOUS says where it is. Example: sam3-angio join train_phase2 train_phase3
    """
    from sam3_angio.joining import launched_stages

    for stage, command in launched_stages(Path("dvc.yaml"), stages or []).items():
        typer.echo(f"Joining {stage}", err=True)
        if subprocess.run(command, check=False).returncode:
            raise AngioError(f"{stage} ended early; what is said above is the cause.")


@_commands.command()
def doctor(
    dataset: Annotated[Path, typer.Option(help="Folder of the data set.")] = Path("dataset"),
) -> None:
    """Say whether this machine can train what params.yaml asks for; exit code 1 if it cannot.

    The table holds nothing personal and may be pasted into an issue. Example: sam3-angio doctor
    """
    from sam3_angio.config import load_config
    from sam3_angio.detector.doctor import diagnose
    from sam3_angio.detector.machine import this_machine
    from sam3_angio.detector.preflight import finding_table
    from sam3_angio.detector.run_folder import runs_root

    findings = diagnose(load_config(), this_machine(runs_root()), dataset)
    Console().print(finding_table(findings))
    wrong = any(finding.verdict == "error" for finding in findings)
    raise typer.Exit(code=1 if wrong else 0)


@_commands.command()
def profile(
    name: Annotated[str, typer.Argument(help="Of a file in the folder of profiles.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show, but do not write.")] = False,
    params: Annotated[Path, typer.Option(help="File to change.")] = Path("params.yaml"),
    profiles: Annotated[Path, typer.Option(help="Folder of the profiles.")] = Path("profiles"),
) -> None:
    """Write a known-good set of parameters into params.yaml and show what that changes.

    Comments are kept. Example: sam3-angio profile rtx3090x2
    """
    from sam3_angio.profiles import apply_profile
    from sam3_angio.report.profile import change_table

    changes = apply_profile(name, params, profiles, dry_run=dry_run)
    console = Console()
    if not changes:
        console.print(f"{params.name} has the values of {name} already.", markup=False)
        return
    console.print(change_table(name, changes))
    console.print(f"{params.name} was {'not ' if dry_run else ''}written.", markup=False)


@_commands.command()
def export(
    phase: Annotated[int, typer.Option(min=1, max=4, help="Phase whose model is exported.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("sam3_angio.pt"),
    arm: Annotated[str | None, typer.Option(help="Arm of Phase 3: none or text.")] = None,
    models: Annotated[Path, typer.Option(help="Folder of the trained models.")] = Path("models"),
    metrics: Annotated[Path, typer.Option(help="Figures for the card.")] = Path("metrics"),
) -> None:
    """Write a trained model as a file that stock sam3 loads, with card, record and licence.

    Example: sam3-angio export --phase 4 --out sam3_angio.pt
    """
    if (phase == 3) != (arm is not None):
        raise ConfigError("Phase 3 has a model for each arm: give --arm with it, and with it only.")
    from sam3_angio.detector.export import export as write_export
    from sam3_angio.report.model_card import Subject, write_companions

    folder = models / f"phase{phase}" / (arm or "")
    exported = write_export(folder, out)
    subject = Subject(phase=phase, arm=arm, folder=folder, weights=out, remarks=exported.remarks)
    companions = write_companions(subject, metrics)
    console = Console()
    console.print(
        f"{out.name}: {exported.tensors} tensors, {exported.parameters:,} parameters.",
        markup=False,
    )
    names = ", ".join(path.name for path in companions)
    console.print(f"Hand on with it: {names}", markup=False, soft_wrap=True)
    for remark in exported.remarks:
        console.print(remark, markup=False, soft_wrap=True)


@_commands.command()
def result(
    metrics: Annotated[Path, typer.Option(help="Folder of the metrics.")] = Path("metrics"),
    report: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
) -> None:
    """Print the result tables of the last `dvc repro`, and where its report is.

    Example: sam3-angio result
    """
    from sam3_angio.report.result import result_tables

    path = metrics / "phase1.json"
    if not path.exists():
        raise DataError(f"There is no {path}: run `dvc repro` first.")
    console = Console()
    for table in result_tables(metrics):
        console.print(table)
    console.print(f"Figures and tables: {metrics}")
    page = report / "index.html"
    if page.exists():
        console.print(f"Report, for a browser: {page}", soft_wrap=True)

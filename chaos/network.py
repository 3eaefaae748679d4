"""`python -m chaos.network`: a scan by a cluster whose cables are pulled and plugged in again.

Client, scheduler and worker are "hosts": network namespaces of Linux, each with a cable to a switch (a bridge in a
namespace of its own). A cable that is pulled at the switch loses packets, and tells nobody. They speak TLS with
certificates that openssl makes. Needs root, iproute2 and openssl; elsewhere it says so and does nothing.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from chaos.ledger import Row, table
from chaos.pieces import Pieces, lost, pieces, wrong
from lossviz.cluster.pool import TIME_OUT_S
from lossviz.errors import LossvizError
from lossviz.results import TO_DO, load_results
from lossviz.run import Run
from lossviz.signals import raise_on_signals
from tests.faults import tiny

HOSTS = {"scheduler": "10.77.0.1", "client": "10.77.0.2", "worker": "10.77.0.3"}
ADDRESS = f"tls://{HOSTS['scheduler']}:8786"
RUN = Run(Path("runs/tiny/tiny"))
# Some 20 s of points for one worker, so that there is time to cut.
GRID = ("--set", "surface.x=[-1, 1, 51]", "--set", "surface.y=[-1, 1, 51]")
# A command that gives up needs a moment for it, on a machine with other work.
SECONDS_TO_END = 15.0
# To finish a scan with the cable in its place.
SECONDS_TO_FINISH = 300.0
_OF_WORKERS = ("--no-nanny", "--nthreads", "1", "--death-timeout", "300", "--no-dashboard")
EVER = float("inf")
HUNG = -signal.SIGALRM


class Cut(NamedTuple):
    """A cable that is pulled in the middle of a scan.

    Attributes:
        host: whose cable.
        seconds: for how long.
        statuses: how the command may end.
        time_outs: after how many the command has to end if the cable stays out: the scheduler misses a worker after
            one, and then the command waits for another one for two.
    """

    host: str
    seconds: float
    statuses: Sequence[int] = (0,)
    time_outs: int = 2


CUTS = (
    *(Cut(host, 0.3 * TIME_OUT_S) for host in HOSTS),
    *(Cut(host, 1.5 * TIME_OUT_S, (0, 1)) for host in HOSTS),
    *(Cut(host, EVER, (1,), 3 if host == "worker" else 2) for host in HOSTS),
)


class Network:
    """Three hosts and a switch, as a context."""

    def __init__(self) -> None:
        self._switch = f"lossviz-{os.getpid()}-switch"

    def __enter__(self) -> "Network":
        self._ip("netns", "add", self._switch)
        self._ip("-n", self._switch, "link", "add", "switch", "up", "type", "bridge")
        for number, (host, address) in enumerate(HOSTS.items()):
            name, cable = self._name(host), f"lv{os.getpid() % 10_000_000}-{number}"
            self._ip("netns", "add", name)
            self._ip("link", "add", cable, "netns", name, "type", "veth", "peer", "name", host, "netns", self._switch)
            self._ip("-n", name, "link", "set", cable, "up")
            self._ip("-n", name, "link", "set", "lo", "up")
            self._ip("-n", name, "address", "add", f"{address}/24", "dev", cable)
            self._ip("-n", self._switch, "link", "set", host, "up")
            self.plug(host)
        return self

    def __exit__(self, *_: object) -> None:
        for name in (*map(self._name, HOSTS), self._switch):
            with suppress(subprocess.CalledProcessError):
                self._ip("netns", "delete", name)

    def pull(self, host: str) -> None:
        """Pull a host's cable out of the switch."""
        self._ip("-n", self._switch, "link", "set", host, "nomaster")

    def plug(self, host: str) -> None:
        """Plug it in again."""
        self._ip("-n", self._switch, "link", "set", host, "master", "switch")

    @contextmanager
    def running(self, host: str, command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A command on a host, with what it starts; all of it is killed in the end."""
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._name(host), *command],
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _name(self, host: str) -> str:
        return f"lossviz-{os.getpid()}-{host}"

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)


def credentials(folder: Path) -> dict[str, str]:
    """A key and a certificate for everybody, made by openssl, as variables of Dask's configuration."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lossviz -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    tls = {"CA_FILE": certificate}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        tls |= {f"{role}__KEY": key, f"{role}__CERT": certificate}
    return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in tls.items()}


def surface(network: Network, name: str, log: Path, cut: Cut | None = None) -> tuple[int, float]:
    """Scan by the cluster, perhaps with a cable that is pulled; the exit status, and seconds since the cut."""
    command = [sys.executable, "-m", "lossviz", "surface", "tiny.yaml", *GRID, "--set", f"surface.name={name}"]
    with network.running("client", [*command, "--scheduler", ADDRESS], log) as process:
        if cut is None:
            return process.wait(SECONDS_TO_FINISH), 0
        before = _done(name)
        while process.poll() is None and _done(name) <= before:
            time.sleep(0.2)
        network.pull(cut.host)
        cut_at = time.monotonic()
        limit = cut.time_outs * TIME_OUT_S + SECONDS_TO_END
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(min(cut.seconds, limit))
        finally:
            seconds = time.monotonic() - cut_at
            network.plug(cut.host)
        if process.poll() is None and cut.seconds == EVER:
            return HUNG, seconds
        try:
            process.wait(SECONDS_TO_FINISH)
        except subprocess.TimeoutExpired:
            return HUNG, SECONDS_TO_FINISH
        return process.returncode, time.monotonic() - cut_at


def try_cut(network: Network, cut: Cut, number: int, folder: Path) -> Row:
    """Pull a cable, then give the same command until it is done; compare with what one process computes."""
    long = "for ever" if cut.seconds == EVER else f"for {cut.seconds:.0f} s"
    row = Row("surface --scheduler", f"cable of the {cut.host} pulled {long}", rounds=1)
    name, log = f"cut{number}", folder / f"client-{number}"
    status, seconds = surface(network, name, log, cut)
    said = log.read_text(errors="replace")
    sys.stdout.write(f"{row.done}: status {status} after {seconds:.0f} s, {_done(name)} points\n{said[-800:]}\n")
    if status == HUNG:
        row.note("hung", [f"more than {seconds:.0f} s"])
    elif status not in cut.statuses:
        row.note("wrong", [f"exit status {status}: {said.strip().splitlines()[-1:]}"])
    row.note("tracebacks", [said[-300:]] if "Traceback" in said else [])
    known = _found(name)
    if status:
        again = folder / f"client-{number}-again"
        resumed, _ = surface(network, name, again)
        if resumed:
            row.note("wrong", [f"resumed: exit status {resumed}: {again.read_text(errors='replace')[-300:]}"])
    expected, found = _found("alone"), _found(name)
    row.note("lost", lost(found, {**known, **expected}))
    points = {each: value for each, value in known.items() if each.startswith("point")}
    row.note("wrong", [*wrong(points, expected), *wrong(found, expected)])
    return row


def _found(name: str) -> Pieces:
    """Every number of a scan, by point."""
    file, others = RUN.surface_file(name), [each for each in RUN.surface_files if each != RUN.surface_file(name)]
    start = f"{file.relative_to('runs')} "
    found = pieces(Path("runs"), without=others)
    return {piece.removeprefix(start): value for piece, value in found.items() if piece.startswith(start)}


def _done(name: str) -> int:
    """How many points are saved."""
    with suppress(LossvizError):
        return int((load_results(RUN.surface_file(name))["status"] != TO_DO).sum())
    return 0


def unavailable() -> str:
    """Why there can be no hosts here; empty if there can."""
    missing = [tool for tool in ("ip", "openssl") if shutil.which(tool) is None]
    if missing or not sys.platform.startswith("linux"):
        return f"needs {' and '.join(missing) or 'Linux'}"
    if os.geteuid():
        return "needs root"
    try:
        with Network():
            return ""
    except subprocess.CalledProcessError as error:
        return f"no network namespaces: {error.stderr.decode().strip()}"


def main() -> None:
    """Try all cuts and print the table; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m chaos.network", description="pull cables of a cluster")
    parser.add_argument("--only", type=int, action="append", help="number of a cut")
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    asked = parser.parse_args()
    reason = unavailable()
    if reason:
        sys.stdout.write(f"the network was not cut: {reason}\n")
        return
    raise_on_signals()  # so that neither hosts nor processes are left
    rows = []
    with tempfile.TemporaryDirectory(prefix="lossviz-network-") as place, ExitStack() as stack:
        folder = Path(place)
        stack.enter_context(chdir(folder))
        os.environ |= credentials(folder) | {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{TIME_OUT_S:.0f}s"}
        os.environ["OMP_NUM_THREADS"] = "1"  # as workers have it
        tiny.write(folder)
        for arguments in (["train", "tiny.yaml"], ["surface", "tiny.yaml", *GRID, "--set", "surface.name=alone"]):
            subprocess.run([sys.executable, "-m", "lossviz", *arguments, "-q"], check=True)
        network = stack.enter_context(Network())
        scheduler = [*_dask("scheduler"), "--host", HOSTS["scheduler"], "--port", "8786", "--protocol", "tls"]
        worker = [*_dask("worker"), ADDRESS, "--host", HOSTS["worker"], *_OF_WORKERS]
        # As docs/cluster.md has it: a worker that was cut off ends, and a loop starts another one.
        loop = ["sh", "-c", 'until "$@"; [ $? -eq 1 ]; do sleep 1; done', "sh", *worker]
        stack.enter_context(network.running("scheduler", [*scheduler, "--no-dashboard"], folder / "scheduler.log"))
        stack.enter_context(network.running("worker", loop, folder / "worker.log"))
        for number, cut in enumerate(CUTS):
            if not asked.only or number in asked.only:
                rows.append(try_cut(network, cut, number, folder))
    text = table(rows)
    sys.stdout.write(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    sys.exit(0 if all(row.clean for row in rows) else 1)


def _dask(role: str) -> list[str]:
    return [sys.executable, "-m", "dask", role]


if __name__ == "__main__":
    main()

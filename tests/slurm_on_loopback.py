"""A Slurm of one node on loopback, from the distribution's packages; needs root, and leaves nothing running."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMANDS = ("slurmctld", "slurmd", "sbatch", "squeue", "munged", "munge")

CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={controller}
SlurmdPort={node}
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} CPUs={cores} NodeAddr=127.0.0.1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Say what this machine lacks for it; empty where it has everything."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if absent := [name for name in COMMANDS if shutil.which(name, path=path) is None]:
        return f"Slurm is not here ({absent[0]}): apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "slurmd needs root"


@contextmanager
def slurm(folder: Path) -> Iterator[Path]:
    """Start Slurm with everything that it keeps in `folder`; yield its configuration, and end it."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    configuration = folder / "slurm.conf"
    controller, node = _free_ports(2)
    configuration.write_text(
        CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            folder=folder,
            controller=controller,
            node=node,
            cores=len(os.sched_getaffinity(0)),
        )
    )
    _start_munge()
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    try:
        subprocess.run(["/usr/sbin/slurmctld", "-f", str(configuration)], check=True, env=environment)
        subprocess.run(["/usr/sbin/slurmd", "-f", str(configuration)], check=True, env=environment)
        _wait_until_idle(environment)
        yield configuration
    finally:
        subprocess.run(["scancel", "--user", "root"], env=environment, capture_output=True)
        for name in ("slurmd", "slurmctld"):
            if (folder / f"{name}.pid").is_file():
                os.kill(int((folder / f"{name}.pid").read_text()), signal.SIGTERM)


def _wait_until_idle(environment: dict[str, str]) -> None:
    for _ in range(100):
        said = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True).stdout
        if "idle" in said:
            return
        time.sleep(0.2)
    raise TimeoutError("the node of Slurm did not become idle")


def _start_munge() -> None:
    if subprocess.run(["munge", "-n"], capture_output=True).returncode:
        place = Path("/run/munge")
        place.mkdir(exist_ok=True)
        shutil.chown(place, "munge", "munge")
        subprocess.run(["su", "-s", "/bin/sh", "munge", "-c", "/usr/sbin/munged"], check=True)


def _free_ports(count: int) -> list[int]:
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in opened]
    for each in opened:
        each.close()
    return ports

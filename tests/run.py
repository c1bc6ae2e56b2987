#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
The test runner behind `make check`, `make crash`, `make soak` and `make fuzz`.

It builds, runs unit tests, fuzz corpora, scenarios and real clients, prints
one line for each program or file as it ends, then the names of what failed,
and last "N passed, N failed".  The exit status is 0 only if something ran and
nothing failed.

A test that was skipped counts as failed: what cannot run here is to be named,
not passed over.
"""

import argparse
import concurrent.futures
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# How much longer everything may take under a sanitizer.
SLOW = {"": 1, "address": 3, "thread": 5}

UNIT_LIMIT_S = 120
FILE_LIMIT_S = 900
CRASH_LIMIT_S = 1500
SHOWN_LINES = 300

# They start first, in this order, or the last of them ends alone while the
# other cores have nothing left to do.  What takes 20 s and more somewhere.
LONGEST = (
    "test_faults", "test_crash_disk", "test_tags", "test_store_crash",
    "test_crash_push", "test_crash", "test_upload_crash", "test_resolve",
    "test_resume", "test_hygiene", "test_attack", "test_upload",
    "test_auth_upstream", "test_hosted_crash", "test_flight",
    "test_conn_body", "test_import", "test_pull", "test_permit",
    "test_names_push", "test_operate", "test_attack_push")

# Under a sanitizer they mostly wait for the daemon's clocks, which
# ENTREPOT_SLOW stretches, and leave a core idle for three quarters of their
# time and more: a lane of their own beside those that work.
WAITING = ("test_faults", "test_tags", "test_resolve", "test_resume")

# Tests of clients that tests/deps.sh gets from their Go modules.
GO_CLIENTS = ("test_crane", "test_regctl")

COMPLAINTS = re.compile(
    r"(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer"
    r"|runtime error:|Assertion .* failed|stack smashing detected")

SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "exitcode=99:detect_leaks=1"
                    ":detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=98",
    "TSAN_OPTIONS": "exitcode=97:second_deadlock_stack=1",
}


@dataclass
class Result:
    """What one program, or one pytest file, had to say."""
    name: str
    passed: int = 0
    failures: list = field(default_factory=list)  # sentences
    text: str = ""  # what it printed
    seconds: float = 0
    cpu_s: float = 0  # of the processor, its children's too

    def fail(self, sentence):
        self.failures.append(" ".join(sentence.split())[:160])
        return self


@dataclass
class Job:
    """work(what) gives one Result."""
    work: object
    what: object
    lane: str  # of Runner.lanes

    @property
    def rank(self):
        stem = Path(self.what).stem
        return LONGEST.index(stem) if stem in LONGEST else len(LONGEST)


class Interrupted(Exception):
    pass


# ---- processes ----

class Processes:
    """Those that run now, so that Ctrl-C leaves none behind."""

    def __init__(self):
        self.lock = threading.Lock()
        self.groups = set()
        self.stopping = False

    def run(self, command, limit_s, env):
        """
        Returns (status or None past the limit, output, seconds, seconds of
        the processor).
        """
        start = time.monotonic()
        with tempfile.TemporaryFile() as output:
            with self.lock:
                if self.stopping:
                    raise Interrupted
                child = subprocess.Popen(
                    [str(word) for word in command], cwd=ROOT, env=env,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    start_new_session=True)
                self.groups.add(child.pid)
            late = threading.Event()
            alarm = threading.Timer(
                limit_s, lambda: (late.set(), end_group(child.pid)))
            alarm.start()
            try:
                # Popen.wait() does not tell what the child has used.
                _, status, usage = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
            finally:
                alarm.cancel()
                end_group(child.pid)
                with self.lock:
                    self.groups.discard(child.pid)
            output.seek(0)
            text = output.read().decode(errors="replace")
        return (None if late.is_set() else child.returncode, text,
                time.monotonic() - start, usage.ru_utime + usage.ru_stime)

    def stop(self):
        with self.lock:
            self.stopping = True
            for group in self.groups:
                end_group(group)


def end_group(group):
    """Also what the program itself left running."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def how_it_ended(status, limit_s):
    if status is None:
        return f"still running after {limit_s:.0f} s"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


# ---- one suite after the other ----

class Runner:
    def __init__(self, args):
        self.args = args
        self.out = ROOT / args.out
        self.bin = ROOT / args.bin
        self.san = "thread" if "thread" in args.san else \
            "address" if args.san else ""
        self.slow = SLOW[self.san]
        self.processes = Processes()
        self.results = []
        self.wrap = fixed_addresses() if args.san else []
        self.env = self.environment()
        # How many jobs of each kind run at a time.
        self.lanes = {"busy": min(2, args.jobs), "waiting": 1, "clients": 1}
        if args.jobs > 2:
            self.lanes["units"] = args.jobs - 2

    def environment(self):
        env = {name: value for name, value in os.environ.items()
               if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS",
                               "MAKEOVERRIDES")}
        for name, value in SANITIZER_OPTIONS.items():
            env[name] = ":".join(filter(None, [value, env.get(name)]))
        env["ENTREPOT_BIN"] = str(self.bin)
        env["ENTREPOT_STORE_CHECK"] = str(self.out / "tools" / "store_check")
        env["ENTREPOT_SLOW"] = str(self.slow)
        env["ENTREPOT_SAN"] = self.args.san
        env["ENTREPOT_FAULTS"] = "1" if self.args.faults else ""
        env["ENTREPOT_KILLS"] = str(self.args.kills)
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        return env

    def report(self, result):
        self.results.append(result)
        word = "FAILED" if result.failures else "ok"
        counts = f"{result.passed} passed"
        if result.failures:
            counts += f", {len(result.failures)} failed"
        print(f"{word:6} {result.name}  ({counts}, {result.seconds:.1f} s, "
              f"{result.cpu_s:.1f} s of a core)")
        if result.failures:
            for line in result.text.rstrip().splitlines()[-SHOWN_LINES:]:
                print("  | " + line)
            for failure in result.failures:
                print(f"  -- {failure}")
        sys.stdout.flush()

    def together(self, *suites):
        """The jobs of these suites in their lanes; reports as they end."""
        jobs = sorted((job for suite in suites for job in suite),
                      key=lambda job: job.rank)
        pools = {lane: concurrent.futures.ThreadPoolExecutor(count)
                 for lane, count in self.lanes.items()}
        try:
            futures = [pools[job.lane].submit(job.work, job.what)
                       for job in jobs]
            for future in concurrent.futures.as_completed(futures):
                self.report(future.result())
        except BaseException:
            self.processes.stop()  # or leaving the pools waits for them
            raise
        finally:
            for pool in pools.values():
                pool.shutdown(cancel_futures=True)

    # ---- suites ----

    def missing(self, path):
        """What tests/deps.sh could not install."""
        if not path or not Path(path).exists():
            return
        for package in Path(path).read_text().split():
            self.report(Result("dependencies").fail(
                f"tests/deps.sh could not install {package}"))

    def build(self, goal="programs"):
        """Everything that compiles; what does not is named by make."""
        print(f"== build {goal} into {self.args.out}", flush=True)
        command = [*self.args.make.split(), "-k", f"-j{self.args.jobs}", goal]
        status, text, spent, _ = self.processes.run(command, 1800, self.env)
        if status != 0:
            lines = [line for line in text.splitlines() if re.search(
                r"error|warning|undefined|\*\*\*|No rule|missing", line)]
            self.report(Result("build", text="\n".join(lines) or text,
                               seconds=spent).fail(f"make {goal}"))

    def units(self):
        sources = sorted((ROOT / "tests/unit").glob("test_*.c"))
        self.title("unit tests", sources)
        return [Job(self.unit, s.stem, self.unit_lane) for s in sources]

    @property
    def unit_lane(self):
        return "units" if "units" in self.lanes else "busy"

    def unit(self, stem):
        result = Result(f"unit/{stem}")
        limit_s = UNIT_LIMIT_S * self.slow
        status = self.start([self.out / "unit" / stem], limit_s, result)
        names = re.findall(r"^(ok|FAILED) (\S+)$", result.text, re.M)
        result.passed = sum(word == "ok" for word, _ in names)
        for word, name in names:
            if word == "FAILED":
                result.fail(name)
        return self.judge(result, status, limit_s, names)

    def judge(self, result, status, limit_s, ran):
        """One more failure for a crash, a complaint, or for nothing at all."""
        failed = bool(result.failures)
        complaint = COMPLAINTS.search(result.text)
        if complaint:
            line = result.text[complaint.start():].splitlines()[0]
            result.fail(f"sanitizer report: {line}")
        elif status is None or status < 0 or (status != 0 and not failed):
            result.fail(how_it_ended(status, limit_s))
        elif not ran:
            result.fail("it ran no test")
        elif status == 0 and failed:
            result.fail("exit status 0 after a failure")
        return result

    def start(self, command, limit_s, result):
        """Run it into result.text; the status as Processes.run() has it."""
        if not command[0].exists():
            result.text = f"{command[0].relative_to(ROOT)} was not built"
            return 127
        status, result.text, result.seconds, result.cpu_s = \
            self.processes.run([*self.wrap, *command], limit_s, self.env)
        return status

    def corpora(self):
        sources = sorted((ROOT / "tests/fuzz").glob("fuzz_*.c"))
        self.title("fuzz corpora", sources)
        return [Job(self.replay, s.stem, self.unit_lane) for s in sources]

    def replay(self, stem):
        """Every input of the target's corpus, in a build of this variant."""
        result = Result(f"fuzz/{stem}")
        limit_s = UNIT_LIMIT_S * self.slow
        corpus = ROOT / "tests/fuzz/corpus" / stem.removeprefix("fuzz_")
        status = self.start([self.out / "replay" / stem, corpus], limit_s,
                            result)
        ran = re.search(r"^replayed [1-9]\d* inputs$", result.text, re.M)
        self.judge(result, status, limit_s, ran)
        result.passed = 0 if result.failures else 1
        return result

    def scenarios(self):
        files = [f for f in sorted((ROOT / "tests/scenario").glob("test_*.py"))
                 if not f.stem.startswith("test_crash")]
        self.title("scenarios", files)
        return [Job(self.pytest, f, "waiting" if f.stem in WAITING and
                    self.san else "busy") for f in files]

    def crashes(self):
        files = sorted((ROOT / "tests/scenario").glob("test_crash*.py"))
        self.title(f"crashes ({self.args.kills} kills)", files)
        if not files:
            self.report(Result("crashes").fail(
                "there is no tests/scenario/test_crash*.py"))
        return [Job(self.pytest, f, "busy") for f in files]

    def clients(self):
        """
        One at a time: they share the machine's daemons and ports; but not
        with the scenarios, for each has namespaces of its own.
        """
        files = [f for f in sorted((ROOT / "tests/clients").glob("test_*.py"))
                 if f.stem not in GO_CLIENTS or self.has_go(f)]
        self.title("real clients", files)
        if not files:
            self.report(Result("clients").fail(
                "there is no tests/clients/test_*.py"))
        return [Job(self.pytest, f, "clients") for f in files]

    def has_go(self, file):
        """Some clients have no package; where Go lacks too, it is said."""
        name = file.stem.removeprefix("test_")
        status, *_ = self.processes.run(
            [ROOT / "tests/deps.sh", "--go-client", name], 60, self.env)
        if status != 0:
            print(f"   {name} is not run: there is no Go 1.24 or later here")
        return status == 0

    def pytest(self, path):
        name = f"{path.parent.name}/{path.stem}"
        result = Result(name)
        limit_s = self.slow * (CRASH_LIMIT_S if "crash" in path.stem
                               else FILE_LIMIT_S)
        # Short: control sockets are made below, and their paths end at 107.
        scratch = Path(tempfile.mkdtemp(prefix="ent-"))
        junit = scratch / "junit.xml"
        command = [*self.wrap, sys.executable, "-m", "pytest", "-q",
                   "-p", "no:cacheprovider", "--basetemp", scratch / "t",
                   "--junitxml", junit, "--rootdir", ROOT, path]
        try:
            status, result.text, result.seconds, result.cpu_s = \
                self.processes.run(command, limit_s, self.env)
            ran = read_junit(junit, result)
            if status != 0 and not result.failures:
                result.fail(how_it_ended(status, limit_s))
            elif not ran:
                result.fail("it ran no test")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return result

    def title(self, what, files):
        print(f"== {what}: {len(files)} files", flush=True)

    # ---- fuzzing ----

    def fuzz(self, binary):
        """New inputs go beside the binary; the corpus in the tree stays."""
        stem = binary.name
        result = Result(f"fuzz/{stem}")
        grown = self.out / "corpus" / stem
        grown.mkdir(parents=True, exist_ok=True)
        corpus = ROOT / "tests/fuzz/corpus" / stem.removeprefix("fuzz_")
        limit_s = self.args.seconds + 120
        status, result.text, result.seconds, result.cpu_s = self.processes.run(
            [binary, f"-max_total_time={self.args.seconds}", "-timeout=10",
             "-rss_limit_mb=2048", "-print_final_stats=1",
             f"-artifact_prefix={self.out}/{stem}-", grown, corpus],
            limit_s, self.env)
        runs = re.search(r"number_of_executed_units: (\d+)", result.text)
        if status == 0 and runs:
            result.passed = 1
            result.name += f", {runs.group(1)} runs"
        else:
            result.fail(how_it_ended(status, limit_s))
        return result

    # ---- the end ----

    def summary(self):
        passed = sum(result.passed for result in self.results)
        failures = [(result.name, failure) for result in self.results
                    for failure in result.failures]
        if failures:
            print("== failed")
            for name, failure in failures:
                print(f"   {name}: {failure}")
        elif not passed:
            print("== nothing ran")
        print(f"{passed} passed, {len(failures)} failed")
        return 0 if passed and not failures else 1


def read_junit(path, result):
    """Add pytest's verdicts to `result`; how many tests it speaks of."""
    try:
        cases = list(xml.parse(path).iter("testcase"))
    except (OSError, xml.ParseError):
        return 0
    for case in cases:
        bad = [child for child in case
               if child.tag in ("failure", "error", "skipped")]
        if not bad:
            result.passed += 1
        for child in bad:
            message = child.get("message", "").split("\n")[0]
            result.fail(f"{case.get('name', '?')}: {child.tag}: {message}")
    return len(cases)


def fixed_addresses():
    """
    Sanitizers of this age want their shadow where a kernel with 32 bits of
    address randomness may have put something else already.
    """
    command = ["setarch", platform.machine(), "-R"]
    try:
        done = subprocess.run([*command, "true"], check=False,
                              capture_output=True)
    except FileNotFoundError:
        return []
    return command if done.returncode == 0 else []


# ---- the four commands ----

def check(runner):
    runner.missing(runner.args.missing)
    runner.build()
    suites = [runner.units(), runner.corpora(), runner.scenarios()]
    if runner.args.faults:
        suites.append(runner.crashes())
    if not runner.args.san and not runner.args.faults:
        suites.append(runner.clients())
    runner.together(*suites)


def crash(runner):
    runner.build()
    runner.together(runner.crashes())


def soak(runner):
    """The scenarios, again and again."""
    runner.build()
    end = time.monotonic() + runner.args.seconds
    rounds = 0
    while rounds == 0 or time.monotonic() < end:
        rounds += 1
        print(f"== round {rounds}")
        runner.together(runner.scenarios(),
                        runner.crashes() if runner.args.faults else [])


def fuzz(runner):
    binaries = sorted(path for path in runner.out.glob("fuzz_*")
                      if path.suffix == "" and os.access(path, os.X_OK))
    runner.title(f"fuzzing, {runner.args.seconds} s each", binaries)
    runner.together([Job(runner.fuzz, b, "busy") for b in binaries])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("command", choices=["check", "crash", "soak", "fuzz"])
    parser.add_argument("--make", default="make")
    parser.add_argument("--san", default="")
    parser.add_argument("--faults", default="")
    parser.add_argument("--out", default="build/release")
    parser.add_argument("--bin", default="build/entrepot")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--missing")
    args = parser.parse_args()

    runner = Runner(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        {"check": check, "crash": crash, "soak": soak,
         "fuzz": fuzz}[args.command](runner)
    except (KeyboardInterrupt, Interrupted, SystemExit):
        runner.results.append(Result("run.py").fail("interrupted"))
    finally:
        runner.processes.stop()
    return runner.summary()


if __name__ == "__main__":
    sys.exit(main())

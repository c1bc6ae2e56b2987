#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
What has to hold of the tree and no compiler says by itself.  `make lint` runs
every check; each finding is one line, "file:line: message".  With names of
checks as arguments, only those run.
"""

import argparse
import concurrent.futures
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import rules

ROOT = Path(__file__).resolve().parents[2]

CHECKS = []


def check(what):
    """Register a generator of (file, line, message); `what` is printed."""
    def register(function):
        CHECKS.append((function.__name__, what, function))
        return function
    return register


# ---- the tree ----

class Tree:
    """Every file that is, or is about to be, in the repository."""

    def __init__(self, args):
        self.args = args
        done = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT,
            capture_output=True, text=True, check=False)
        if done.returncode == 0:
            names = filter(None, done.stdout.split("\0"))
        else:  # an unpacked archive
            names = (str(p.relative_to(ROOT)) for p in ROOT.rglob("*")
                     if not {"build", "__pycache__"} & set(p.parts))
        self.files = sorted({n for n in names if (ROOT / n).is_file()})

    def named(self, *suffixes, under=()):
        return [n for n in self.files if n.endswith(suffixes) and
                (not under or n.split("/")[0] in under)]

    def c_files(self):
        return self.named(".c", ".h")

    def product(self):
        return self.named(".c", ".h", under=("cache", "proxy"))

    def python(self):
        return [n for n in self.files if n.endswith(".py")]

    def shell(self):
        return [n for n in self.files if n.endswith(".sh") or
                re.match(r"#!\s*/bin/(ba)?sh|#!/usr/bin/env (ba)?sh",
                         first_line(n))]

    def texts(self):
        """Everything that people write; corpora are foreign bytes."""
        return [n for n in self.files
                if not n.startswith("tests/fuzz/corpus/") and n != "LICENSE"]


def first_line(name):
    with open(ROOT / name, "rb") as file:
        return file.readline(200).decode(errors="replace")


def read(name):
    return (ROOT / name).read_text(errors="replace")


def lines(name):
    return enumerate(read(name).splitlines(), 1)


def code_lines(name):
    """Numbered lines of a C file with comments and literals blanked out."""
    def blank(match):
        text = match.group()
        quote = text[0] if text[0] in "\"'" else ""
        inner = text[1:-1] if quote else text
        return quote + re.sub(r"[^\n]", " ", inner) + quote

    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"'
                  r"|'(?:\\.|[^'\\\n])*'", blank, read(name), flags=re.S)
    return enumerate(text.splitlines(), 1)


def includes(name):
    for number, line in lines(name):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1) + match.group(2)


def run(*command):
    return subprocess.run([str(word) for word in command], cwd=ROOT,
                          capture_output=True, text=True, check=False)


def complaints(text, default):
    """Findings from the output of a tool that prints file:line[:col]: ..."""
    matches = [m for m in (re.match(
        r"([^\s:]+):(\d+):(?:\d+:)?\s*(.*)", line)
        for line in text.splitlines()) if m]
    # A compiler's notes explain an error; alone, they are what was found.
    grave = [m for m in matches if not m.group(3).startswith("note:")]
    for match in grave or matches:
        path, number, message = match.groups()
        if path.startswith("/"):  # in a system's header, because of us
            yield default, 1, f"{message} ({path}:{number})"
        else:
            yield path, int(number), message
    if not matches and text.strip():
        yield default, 1, text.strip().splitlines()[0]


def each_file(tree, names, command):
    """Run command(name) for all names at once; findings of those that fail."""
    with concurrent.futures.ThreadPoolExecutor(tree.args.jobs) as pool:
        done = pool.map(lambda n: (n, run(*command(n))), names)
        for name, result in done:
            if result.returncode != 0:
                yield from complaints(result.stderr + result.stdout or
                                      f"exit status {result.returncode}", name)


# ---- C ----

@check("layout of C files (clang-format)")
def layout(tree):
    yield from each_file(tree, tree.c_files(), lambda n: [
        tree.args.clang_format, "--dry-run", "-Werror", n])


@check("cache/ does not know proxy/")
def layers(tree):
    for name in tree.named(".c", ".h", under=("cache",)):
        for number, what in includes(name):
            if what.startswith('"') and not what.startswith('"cache/'):
                yield name, number, f"{what}\" is not of cache/"
            if re.match(rules.NOT_IN_CACHE, what):
                yield name, number, f"{what}> has no place in cache/"


@check("outside libraries stay in their files")
def confinement(tree):
    for name in tree.product():
        for number, what in includes(name):
            for pattern, allowed in rules.CONFINED.items():
                if what.startswith(pattern) and name not in allowed:
                    yield name, number, (f"{what}> belongs to "
                                         f"{', '.join(sorted(allowed))}")


@check("every header compiles alone, with its own guard")
def headers(tree):
    names = tree.named(".h")
    yield from each_file(tree, names, lambda n: [
        "gcc", *rules.FLAGS, "-Wno-unused-function", "-Wno-unused-variable",
        "-fsyntax-only", "-x", "c", "-include", n, "/dev/null"])
    for name in names:
        parts = name.removesuffix(".h").upper().split("/")
        guard = re.sub(r"\W", "_", "_".join(parts[-2:])) + "_H"
        unit = re.sub(r"\W", "_", f"{parts[0]}_{parts[-1]}") + "_H"
        text = read(name)
        if not any(f"#ifndef {g}\n#define {g}\n" in text
                   for g in (guard, unit)):
            yield name, 2, f"no guard {guard}"


@check("no warning from gcc")
def gcc(tree):
    # At -O2: what flow analysis finds, too.
    yield from each_file(tree, tree.named(".c"), lambda n: [
        "gcc", *rules.FLAGS, "-O2", "-c", "-o", "/dev/null", n])


@check("no warning from clang")
def clang(tree):
    yield from each_file(tree, tree.named(".c"), lambda n: [
        "clang", *rules.FLAGS, "-fsyntax-only", n])


@check("no unsafe or wrong-layer function")
def functions(tree):
    for name in tree.product():
        for number, line in code_lines(name):
            for match in re.finditer(r"\b([a-z_]\w*)\s*\(", line):
                why = rules.unwanted(match.group(1), name)
                if why:
                    yield name, number, f"{match.group(1)}(): {why}"


@check("function length (only said)")
def length(tree):
    for name in tree.product():
        start, title = 0, ""
        for number, line in code_lines(name):
            if line == "{":
                start = number
            elif line.startswith("}") and start:
                if number - start > rules.LONG:
                    yield name, start, (f"warning: {title} has "
                                        f"{number - start} lines")
                start = 0
            elif re.match(r"[a-z].*\(", line) and not start:
                title = line.split("(")[0].split()[-1].lstrip("*") + "()"


# ---- every file ----

@check("SPDX line")
def spdx(tree):
    for name in tree.texts():
        path = Path(name)
        if path.suffix in (".json", ".md", "") and \
                not first_line(name).startswith("#!") and \
                path.name != "Makefile":
            continue
        head = "".join(read(name).splitlines(True)[:3])
        if "SPDX-License-Identifier: Apache-2.0" not in head:
            yield name, 1, "no SPDX-License-Identifier: Apache-2.0"


@check("no promises left open")
def promises(tree):
    words = re.compile(r"\b(" + "|".join(rules.PROMISES) + r")\b")
    for name in tree.texts():
        if name.startswith("tests/lint/"):
            continue
        for number, line in lines(name):
            match = words.search(line)
            if match:
                yield name, number, match.group()


@check("blanks at line ends, tabs, last lines")
def blanks(tree):
    for name in tree.texts():
        text = read(name)
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip():
                yield name, number, "blanks at the end of the line"
            if name.endswith((".py", ".json", ".yaml", ".toml", ".md")) and \
                    "\t" in line:
                yield name, number, "a tab"
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            yield name, text.count("\n"), "not one newline at the end"


@check("Python compiles, and pyflakes is silent")
def python(tree):
    for name in tree.python():
        try:
            compile(read(name), name, "exec")
        except SyntaxError as error:
            yield name, error.lineno or 1, str(error)
    done = run(sys.executable, "-m", "pyflakes", *tree.python())
    if done.returncode != 0:
        yield from complaints(done.stdout + done.stderr, "tests")


@check("shell scripts (shellcheck)")
def shell(tree):
    # 2317: it does not follow functions that a trap calls.
    yield from each_file(tree, tree.shell(), lambda n: [
        "shellcheck", "-f", "gcc", "-e", "SC2317", n])


# ---- what is not code ----

@check("links in Markdown")
def links(tree):
    for name in tree.named(".md"):
        for number, line in lines(name):
            for target in re.findall(r"\]\(([^)\s]+)", line):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, anchor = target.partition("#")
                where = (ROOT / name).parent / path if path else ROOT / name
                if not where.exists():
                    yield name, number, f"no such file: {target}"
                elif anchor and anchor not in anchors(where):
                    yield name, number, f"no such heading: {target}"


def anchors(path):
    """The names that GitHub gives to headings."""
    for line in path.read_text().splitlines():
        match = re.match(r"#+\s+(.*)", line)
        if match:
            text = re.sub(r"[^\w\- ]", "", match.group(1).lower())
            yield text.strip().replace(" ", "-")


@check("JSON, TOML and YAML files parse")
def data_files(tree):
    import yaml
    for suffix, parse, names in (
            (".json", json.loads, tree.named(".json")),
            (".toml", tomllib.loads, tree.named(".toml", ".conf", under=(
                "conf",))),
            (".yaml", lambda text: list(yaml.safe_load_all(text)),
             tree.named(".yaml", ".yml"))):
        for name in names:
            if name.startswith("tests/fuzz/corpus/"):
                continue
            try:
                parse(read(name))
            except (ValueError, yaml.YAMLError) as error:
                yield name, 1, f"not {suffix[1:].upper()}: " + \
                    " ".join(str(error).split())


@check("the full configuration is complete, the short one loads")
def configuration(tree):
    tool = "build/release/tools/conf_lint"
    made = run(*tree.args.make.split(), f"-j{tree.args.jobs}", "SAN=",
               "FAULTS=", tool)
    if made.returncode != 0:
        yield from complaints(made.stderr, "Makefile")
        return
    full = "conf/entrepot-full.json"
    done = run(tool, full, "conf/entrepot.json")
    for line in done.stdout.splitlines() if done.returncode else ():
        yield full, 1, line
    if done.returncode and not done.stdout:
        yield full, 1, f"{tool}: exit status {done.returncode}"


@check("systemd units (systemd-analyze verify)")
def units(tree):
    # As `make install` places them, beside a binary that can be found.
    with tempfile.TemporaryDirectory() as root:
        to = Path(root) / "usr/lib/systemd/system"
        to.mkdir(parents=True)
        for name in tree.named(".service", ".socket", under=("systemd",)):
            shutil.copy(ROOT / name, to)
        for target in rules.SYSTEM_UNITS:
            (to / target).write_text("[Unit]\n")
        for program in ("usr/bin/entrepot", "bin/kill"):
            path = Path(root) / program
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            path.chmod(0o755)
        for unit in sorted(to.glob("entrepot.*")):
            done = run("systemd-analyze", f"--root={root}", "--man=no",
                       "verify", unit.name)
            for line in (done.stderr + done.stdout).splitlines():
                if "entrepot" in line:
                    yield f"systemd/{unit.name}", 1, line.replace(root, "")


# ---- the end ----

def main():
    parser = argparse.ArgumentParser(description="Check the tree.")
    parser.add_argument("--make", default="make --no-print-directory")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--clang-format", default="clang-format-14")
    parser.add_argument("names", nargs="*", metavar="CHECK",
                        choices=[name for name, _, _ in CHECKS] + [[]])
    args = parser.parse_args()
    tree = Tree(args)
    findings = ran = 0
    for name, what, function in CHECKS:
        if args.names and name not in args.names:
            continue
        ran += 1
        print(f"== {name}: {what}", flush=True)
        try:
            found = sorted(set(function(tree)))
        except (OSError, ImportError) as error:
            found = [("tests/lint/lint.py", 1, f"{name} cannot run: {error}")]
        for path, number, message in found:
            print(f"{path}:{number}: {message}", flush=True)
            findings += not message.startswith("warning: ")
    print(f"lint: {ran} checks over {len(tree.files)} files, "
          f"{findings} findings")
    return 1 if findings or not tree.files else 0


if __name__ == "__main__":
    sys.exit(main())

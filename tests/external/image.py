"""The image of the gateway: its Dockerfile and its .dockerignore, held to the repository.

    python3 tests/external/image.py target/debug/wsplice-gateway

The context that docker would send is made in a folder of its own, and cargo reads the manifests there. Each
rule is then broken on purpose, and must be heard of.
"""

import fnmatch
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile

# Seconds from the signal to the end.
LONGEST_STOP = 30
# Seconds from the start to the first line.
LONGEST_START = 30


class Broken(Exception):
    pass


def must(so, what):
    if not so:
        raise Broken(what)


def instructions(dockerfile):
    """The instructions, each with its name and its text, without comments."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def all_of(steps, name):
    return [text for it, text in steps if it == name]


def one_of(steps, name):
    found = all_of(steps, name)
    must(len(found) == 1, f"{len(found)} times {name}")
    return found[0]


def is_ignored(path, rules):
    """By .dockerignore: the last rule that fits the path, or a folder above it, decides."""
    parts = path.split("/")
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!").rstrip("/")
        if any(fits(it, pattern) for it in above):
            ignored = not rule.startswith("!")
    return ignored


def fits(path, pattern):
    """A `*` of docker's ends at a slash."""
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def context(dockerignore):
    """The files of the repository that docker sends."""
    lines = (line.strip() for line in dockerignore.splitlines())
    rules = [line for line in lines if line and not line.startswith("#")]
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, check=True, text=True)
    return [it for it in listed.stdout.split("\0") if it and not is_ignored(it, rules)]


def manifests_are_whole(files):
    """Cargo finds each member of the workspace and each target that a manifest names."""
    with tempfile.TemporaryDirectory() as root:
        for it in files:
            os.makedirs(os.path.join(root, os.path.dirname(it)), exist_ok=True)
            shutil.copy(it, os.path.join(root, it))
        command = ["cargo", "metadata", "--no-deps", "--format-version=1"]
        read = subprocess.run(command, cwd=root, capture_output=True, text=True)
        must(read.returncode == 0, f"cargo in the context: {read.stderr}")
        for package in json.loads(read.stdout)["packages"]:
            for target in package["targets"]:
                name = f"{package['name']}'s {target['name']}"
                must(os.path.exists(target["src_path"]), f"{name} is not in the context")


def included_files_are_there(files):
    """What the libraries and the gateway compile in, apart from what tests and doctests read."""
    sources = (it for it in files if re.fullmatch(r"(|gateway/|prometheus/|status/)src/.*\.rs", it))
    for source in sources:
        if "/tests" in source:
            continue
        with open(source) as opened:
            text = re.sub(r"#\[cfg\((?:doctest|test|all\(doctest).*", "", opened.read(), flags=re.S)
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', text):
            path = os.path.normpath(os.path.join(os.path.dirname(source), name))
            must(path in files, f"{source} includes {path}, which is not in the context")


def lock_file_is_there(files):
    must("Cargo.lock" in files, "--locked without Cargo.lock")


def little_else(files):
    for it in files:
        must(not it.startswith((".git/", "target/", "fuzz/", "docs/")), f"{it} is in the context")


def stages(steps):
    """The names of the stages, and the instructions of the last."""
    starts = [n for n, (name, _) in enumerate(steps) if name == "FROM"]
    return [steps[n][1] for n in starts], steps[starts[-1] :]


def images_have_versions(steps):
    for image in stages(steps)[0]:
        name = image.split()[0]
        must(":" in name and not name.endswith(":latest"), f"{name} has no version")


def stages_have_one_debian(steps):
    """The C library of the last stage is as new as that of the first."""
    first, last = (it.split()[0] for it in stages(steps)[0])
    release = first.rpartition("-")[2]
    must(last == f"debian:{release}-slim", f"{first} and {last}")


def program_is_the_one_that_is_built(steps):
    build = one_of(steps, "RUN")
    package = re.search(r"-p (\S+)", build)[1]
    profile = re.search(r"--profile (\S+)", build)[1]
    must("--locked" in build, "a build without --locked")
    with open("Cargo.toml") as manifest:
        must(f"[profile.{profile}]" in manifest.read(), f"no profile {profile}")
    workdir = one_of(steps, "WORKDIR")
    copies = [it.split() for it in all_of(stages(steps)[1], "COPY")]
    must(all(it[0] == "--from=build" for it in copies), "a COPY of the last stage from elsewhere")
    built = f"{workdir}/target/{profile}/{package}"
    programs = [to for _, source, to in copies if source == built]
    must(len(programs) == 1, f"{built} is not copied")
    (entry,) = json.loads(one_of(steps, "ENTRYPOINT"))
    must(programs == [f"/usr/local/bin/{entry}"], f"{entry} is not {programs}")


def user_is_a_number_above_zero(steps):
    user, group = one_of(stages(steps)[1], "USER").split(":")
    must(int(user) > 0 and int(group) > 0, "root")


def port_is_the_one_listened_on(steps):
    arguments = json.loads(one_of(steps, "CMD"))
    port = arguments[arguments.index("--listen") + 1].rpartition(":")[2]
    must(port == one_of(steps, "EXPOSE"), f"port {port}")


def nothing_is_added_or_upgraded(steps):
    must(not all_of(steps, "ADD"), "ADD")
    for command in all_of(steps, "RUN"):
        must("upgrade" not in command and "sudo" not in command, command)


def first_line(running):
    """What the program says first."""
    ready, _, _ = select.select([running.stdout], [], [], LONGEST_START)
    must(ready, f"no line within {LONGEST_START} s")
    return running.stdout.readline()


def runs_as_that_user(steps, gateway, may_choose):
    """The program starts with the image's arguments as the image's user, if that may be chosen, serves, and
    ends at its signal."""
    user, group = one_of(stages(steps)[1], "USER").split(":")
    arguments = json.loads(one_of(steps, "CMD"))
    arguments[arguments.index("--listen") + 1] = "127.0.0.1:0"
    with tempfile.TemporaryDirectory() as root:
        # The folder of the build may be closed to that user.
        os.chmod(root, 0o755)
        program = shutil.copy(gateway, os.path.join(root, "gateway"))
        options = dict(cwd="/", env={}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if may_choose:
            options |= dict(user=int(user), group=int(group), extra_groups=[])
        with subprocess.Popen([program, *arguments], **options) as running:
            try:
                first = first_line(running)
                must(first.startswith("listening on http://127.0.0.1:"), f"first line: {first!r}")
                running.send_signal(getattr(signal, one_of(steps, "STOPSIGNAL")))
                code = running.wait(LONGEST_STOP)
            finally:
                running.kill()
        must(code == 0, f"exit code {code}")


OF_CONTEXT = [manifests_are_whole, included_files_are_there, lock_file_is_there, little_else]
OF_DOCKERFILE = [
    images_have_versions,
    stages_have_one_debian,
    program_is_the_one_that_is_built,
    user_is_a_number_above_zero,
    port_is_the_one_listened_on,
    nothing_is_added_or_upgraded,
]

# A change of the file that its rule must hear of.
FAULTS = [
    (manifests_are_whole, ".dockerignore", "!benches\n", ""),
    (included_files_are_there, ".dockerignore", "tests/external\n", "status/src/*.css\n"),
    (lock_file_is_there, ".dockerignore", "!Cargo.lock\n", ""),
    (little_else, ".dockerignore", "!src\n", "!src\n!docs\n"),
    (images_have_versions, "Dockerfile", "rust:1-slim-trixie", "rust:latest"),
    (stages_have_one_debian, "Dockerfile", "debian:trixie-slim", "debian:bookworm-slim"),
    (program_is_the_one_that_is_built, "Dockerfile", "target/dist", "target/release"),
    (user_is_a_number_above_zero, "Dockerfile", "USER 65532", "USER 0"),
    (port_is_the_one_listened_on, "Dockerfile", "EXPOSE 3000", "EXPOSE 8080"),
    (nothing_is_added_or_upgraded, "Dockerfile", "COPY . .", "ADD . ."),
]


def read(name):
    with open(name) as opened:
        return opened.read()


def check(rule, text):
    if rule in OF_CONTEXT:
        rule(context(text))
    else:
        rule(instructions(text))


def main(gateway):
    for rule in OF_CONTEXT:
        check(rule, read(".dockerignore"))
    for rule in OF_DOCKERFILE:
        check(rule, read("Dockerfile"))
    for rule, name, before, after in FAULTS:
        text = read(name)
        assert before in text, f"{name} has no {before!r}"
        try:
            check(rule, text.replace(before, after))
        except Broken:
            continue
        raise AssertionError(f"{rule.__name__} does not hear of {after!r}")
    may_choose = os.geteuid() == 0
    runs_as_that_user(instructions(read("Dockerfile")), gateway, may_choose)
    if not may_choose:
        print("SKIPPED: the program as the image's user, which only root can choose")
    print(f"{len(OF_CONTEXT) + len(OF_DOCKERFILE) + may_choose} rules hold, {len(FAULTS)} faults found")


if __name__ == "__main__":
    main(*sys.argv[1:])

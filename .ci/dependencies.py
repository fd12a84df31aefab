"""Checks licences, bans and sources of the dependency tree against deny.toml, by cargo metadata.

With a folder as argument, a clone of RustSec's advisory database, it looks for known faults as well.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def main():
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    allowed = set(rules["licenses"]["allow"])
    banned = {entry["crate"]: entry["reason"] for entry in rules["bans"]["deny"]}
    packages = used_packages()
    faults = []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if not satisfied(package["license"] or "none", allowed):
            faults.append(f"{name}: licence {package['license']}")
        if package["name"] in banned:
            faults.append(f"{name}: banned, {banned[package['name']]}")
        if package["source"] not in (None, CRATES_IO):
            faults.append(f"{name}: comes from {package['source']}")
    if len(sys.argv) > 1:
        faults += advisories(packages, Path(sys.argv[1]), {i["id"] for i in rules["advisories"]["ignore"]})
    print("\n".join(faults) or f"{len(packages)} packages, none against deny.toml")
    sys.exit(bool(faults) or not packages)


def used_packages():
    """The packages that the tree reaches; Cargo.lock also lists optional ones that nothing turns on."""
    command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    tree = ["cargo", "tree", "--locked", "--all-features", "--target", "all", "--edges", "all"]
    tree += ["--prefix", "none", "--format", "{p}"]
    lines = subprocess.run(tree, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    reached = {tuple(line.split()[:2]) for line in lines if line}
    return [p for p in metadata["packages"] if (p["name"], "v" + p["version"]) in reached]


def advisories(packages, database, ignored):
    """What RustSec knows about these versions. A file has its facts in a block of TOML at its top."""
    files = {folder.name: list(folder.glob("RUSTSEC-*.md")) for folder in database.glob("crates/*")}
    read = sum(len(of_one) for of_one in files.values())
    if read < 500:
        return [f"{database}: {read} advisories, which cannot be all of them"]
    print(f"{read} advisories")
    return [
        f"{package['name']} {package['version']}: {fault}"
        for package in packages
        for file in files.get(package["name"], [])
        for fault in judged(file.read_text(encoding="utf-8"), package["version"], ignored)
    ]


def judged(text, version, ignored):
    """The advisory in this text, if it is about this version."""
    facts = tomllib.loads(text.split("```toml", 1)[1].split("```", 1)[0])
    advisory, versions = facts["advisory"], facts.get("versions", {})
    fine = versions.get("patched", []) + versions.get("unaffected", [])
    if "withdrawn" in advisory or advisory["id"] in ignored:
        return []
    if any(matches(version, requirement) for requirement in fine):
        return []
    return [f"{advisory['id']}, {advisory.get('informational', 'a vulnerability')}"]


def matches(version, requirement):
    """Whether a version is in a range like `>= 1.2.3, < 2`, `^1.2`, `~1.2`, `1.2` (as cargo reads it) or `*`."""
    return all(matches_one(order(version), part.strip()) for part in requirement.split(","))


def matches_one(version, part):
    if part == "*":
        return True
    sign, bound = re.fullmatch(r"(>=|<=|>|<|=|\^|~)?\s*(\S+)", part).groups()
    low = order(bound)
    if sign in (">=", "<=", ">", "<", "="):
        return {">=": version >= low, "<=": version <= low, ">": version > low,
                "<": version < low, "=": version == low}[sign]
    # Up to the next number that may break: the first that is not zero, or for `~` the second.
    given = re.split(r"[-+]", bound)[0].count(".")
    numbers = low[:3]
    step = min(given, 1) if sign == "~" else next((i for i, n in enumerate(numbers) if n), given)
    high = (*numbers[:step], numbers[step] + 1, *[0] * (2 - step))
    return low <= version and version[:3] < high


def order(version):
    """A version as a value that sorts: a release stands behind its candidates."""
    plain, _, candidate = version.split("+")[0].partition("-")
    numbers = [int(n) for n in plain.split(".")]
    parts = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in candidate.split(".") if p]
    return (*numbers, *[0] * (3 - len(numbers)), not candidate, parts)


def satisfied(expression, allowed):
    """Whether the allowed licences satisfy an SPDX expression; old crates write `/` for OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        value = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value |= both()
        return value

    def both():
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value &= one()
        return value

    def one():
        token = tokens.pop(0)
        if token == "(":
            value = either()
            tokens.pop(0)
            return value
        if tokens[:1] == ["WITH"]:
            token = f"{token} WITH {tokens[1]}"
            del tokens[:2]
        return token in allowed

    return either()


assert satisfied("MIT/Apache-2.0", {"MIT"})
assert satisfied("(A OR B) AND C WITH D", {"B", "C WITH D"})
assert not satisfied("A AND B OR C", {"A"})
assert matches("1.2.3", ">= 1.2.3, < 2") and not matches("2.0.0", ">= 1.2.3, < 2")
assert matches("0.103.13", "^0.103.10") and not matches("0.104.0", "^0.103.10")
assert matches("1.9.0", "1.2") and matches("1.2.9", "~1.2") and not matches("1.3.0", "~1.2")
assert not matches("1.0.0-rc.2", ">= 1.0.0") and matches("1.0.0-rc.10", "> 1.0.0-rc.2")
SAMPLE = """```toml
[advisory]
id = "RUSTSEC-2000-0001"
[versions]
patched = [">= 0.3.2", "^0.2.9"]
unaffected = ["< 0.2"]
```"""
assert [v for v in ("0.1.9", "0.2.8", "0.2.9", "0.3.1", "0.3.2") if judged(SAMPLE, v, ())] == ["0.2.8", "0.3.1"]
assert not judged(SAMPLE, "0.2.8", {"RUSTSEC-2000-0001"})

if __name__ == "__main__":
    main()

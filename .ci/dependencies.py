"""Checks licences, bans and sources of the dependency tree against deny.toml, by cargo metadata."""

import json
import re
import subprocess
import sys
import tomllib

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

if __name__ == "__main__":
    main()

"""All builds (server, server's tests, window) must compile each crate with the same features.

Where they differ, cargo compiles the crate once more, and everything that stands on it: one feature of a macro's own
crate costs the whole tree. A difference is mended by naming the missing feature in src-tauri/features/Cargo.toml.
"""

import subprocess
import sys

BUILDS = {
    "server": ["--no-default-features", "--edges", "normal,build"],
    "server's tests": ["--no-default-features", "--edges", "all"],
    "window": ["--features", "custom-protocol", "--edges", "normal,build"],
}
# The root package differs by its purpose; of the others the window needs a second copy for its macros, and nothing that
# the server compiles stands on that copy.
MAY_DIFFER = {"bizing-desk", "fastrand", "time"}


def crates(flags: list[str]) -> dict[str, set[str]]:
    """Crate and version -> each set of features that it is compiled with (one for programs, one for macros at most)."""
    command = ["cargo", "tree", "--locked", "--workspace", "--prefix", "none", "--format", "{p}|{f}", *flags]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if "|" in line:
            package, features = line.removesuffix(" (*)").split("|")
            found.setdefault(" ".join(package.split()[:2]), set()).add(features)
    return found


def main() -> int:
    builds = {name: crates(flags) for name, flags in BUILDS.items()}
    differences = []
    for crate in sorted(set().union(*builds.values())):
        if crate.split()[0] in MAY_DIFFER:
            continue
        sets = {name: found[crate] for name, found in builds.items() if crate in found}
        if len({frozenset(s) for s in sets.values()}) > 1:
            common = set.intersection(*({f for one in s for f in one.split(",")} for s in sets.values()))
            parts = [f"{name} {sorted({f for one in s for f in one.split(',')} - common)}" for name, s in sets.items()]
            differences.append(f"  {crate}: also " + ", ".join(parts))
    if differences:
        print("These crates are compiled more than once, because their features differ between builds:")
        print("\n".join(differences))
        return 1
    print(f"one set of features: {len(set().union(*builds.values()))} crates")
    return 0


sys.exit(main())

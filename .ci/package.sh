#!/usr/bin/env bash
# Makes the Debian package from a binary that is built already:
#   .ci/package.sh [BINARY [FOLDER [VERSION]]]
# BINARY: target/release/kimgate. FOLDER for the package: target/debian. VERSION: Cargo.toml's.
set -euo pipefail
cd "$(dirname "$0")/.."

metadata=$(cargo metadata --locked --no-deps --format-version 1)
field() { python3 -c 'import json, sys; print(eval("m" + sys.argv[1], {"m": json.load(sys.stdin)}))' "$1" <<<"$metadata"; }
target=$(field '["target_directory"]')
binary=${1:-$target/release/kimgate}
out=${2:-$target/debian}
version=${3:-$(field '["packages"][0]["version"]')-1}
architecture=$(dpkg --print-architecture)

# 0 is a service that can touch nothing, 100 one that can touch everything.
if command -v systemd-analyze >/dev/null; then
    systemd-analyze security --offline=true --threshold=15 --no-pager config/systemd/kimgate.service \
        | tail -1 >&2
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

put() { install -D -m "$1" "$2" "$root/$3"; }
put 755 "$binary" usr/bin/kimgate
strip --strip-unneeded "$root/usr/bin/kimgate"
put 640 config/debian/kimgate.toml etc/kimgate/kimgate.toml
for unit in kimgate.service kimgate-pop3s.socket kimgate-smtps.socket; do
    put 644 "config/systemd/$unit" "usr/lib/systemd/system/$unit"
done
put 644 config/systemd/kimgate.sysusers usr/lib/sysusers.d/kimgate.conf
put 644 config/systemd/kimgate.tmpfiles usr/lib/tmpfiles.d/kimgate.conf
for text in README.md OPERATIONS.md SECURITY.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE \
    config/full.toml config/practice.toml; do
    put 644 "$text" "usr/share/doc/kimgate/$(basename "$text")"
done
for part in kimgate.conf jail.local; do
    put 644 "config/fail2ban/$part" "usr/share/doc/kimgate/fail2ban/$part"
done
cat LICENSE-MIT >"$root/usr/share/doc/kimgate/copyright"

pages=$(mktemp -d)
trap 'rm -rf "$root" "$pages"' EXIT
"$binary" package-files "$pages"
for page in "$pages"/*.1; do
    install -d "$root/usr/share/man/man1"
    gzip -9n <"$page" >"$root/usr/share/man/man1/$(basename "$page").gz"
done
put 644 "$pages/kimgate.bash" usr/share/bash-completion/completions/kimgate
put 644 "$pages/_kimgate" usr/share/zsh/vendor-completions/_kimgate
put 644 "$pages/kimgate.fish" usr/share/fish/vendor_completions.d/kimgate.fish

install -d "$root/DEBIAN"
for script in postinst prerm postrm; do
    install -m 755 "config/debian/$script" "$root/DEBIAN/$script"
done
echo /etc/kimgate/kimgate.toml >"$root/DEBIAN/conffiles"
# What the binary is linked to decides the oldest C library that it runs with.
libc=$(objdump -T "$root/usr/bin/kimgate" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
cat >"$root/DEBIAN/control" <<CONTROL
Package: kimgate
Version: $version
Architecture: $architecture
Section: mail
Priority: optional
Maintainer: kimgate <kimgate@localhost>
Depends: libc6 (>= ${libc#GLIBC_}), libgcc-s1, systemd
Installed-Size: $(du -ks "$root" | cut -f1)
Description: SMTP/POP3 gateway in front of a KIM client module
 Stands between the workstations of a practice and the one KIM client module:
 decides who may use which mailbox, recognises the client module by its
 certificate, and relays messages without storing them.
CONTROL

mkdir -p "$out"
package="$out/kimgate_${version}_$architecture.deb"
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
echo "$package"

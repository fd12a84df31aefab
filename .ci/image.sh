#!/usr/bin/env bash
# Runs the start command of docker/Dockerfile by hand: a fresh root folder with what the image has,
# read-only, as user 10995 without capabilities, in a network of its own, with the lab's
# configuration. Needs root, unshare, setpriv and ip, and says so where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${1:-target/release/kimgate}

for program in unshare setpriv ip ldd; do
    command -v $program >/dev/null || { echo "skipped: $program is not installed"; exit 0; }
done
[ "$(id -u)" -eq 0 ] || { echo "skipped: only root can make a root folder"; exit 0; }
unshare --mount --net --pid --fork true 2>/dev/null || { echo "skipped: no namespaces here"; exit 0; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir -p "$root"/{usr/local/bin,etc/kimgate,proc,dev,tmp}
install -d -o 10995 -g 10995 -m 700 "$root/var/lib/kimgate"
install -m 755 "$binary" "$root/usr/local/bin/kimgate"
install -m 644 docker/kimgate.toml "$root/etc/kimgate/kimgate.toml"
for library in $(ldd "$binary" | grep -o '/[^ ]*'); do
    install -D "$library" "$root$library"
done

# As in docker/compose.yaml: read-only but for the volume, no privilege to be had, no capability.
inside() {
    ip link set lo up
    mount --bind "$root/var/lib/kimgate" /mnt
    mount --bind "$root" "$root" && mount -o remount,bind,ro "$root"
    mount --bind /mnt "$root/var/lib/kimgate"
    mount -t proc proc "$root/proc"
    kimgate() {
        env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/bin KIMGATE_CONFIG=/etc/kimgate/kimgate.toml \
            setpriv --no-new-privs chroot --userspec=10995:10995 --groups= "$root" kimgate "$@"
    }
    kimgate simulate --pop3 127.0.0.1:2995 --smtp 127.0.0.1:2465 >/dev/null &
    kimgate run >/dev/null &
    for _ in $(seq 100); do
        # The image's HEALTHCHECK.
        if said=$(kimgate status 2>&1); then
            stat -c '%u:%g %a %n' "$root"/var/lib/kimgate/*
            grep -E '^(Uid|CapEff|NoNewPrivs)' "/proc/$(pgrep -f '^kimgate run')/status"
            echo "healthy as user 10995 with a read-only root"
            return
        fi
        sleep 0.1
    done
    printf '%s\n' "$said"
    return 1
}
export root
export -f inside
# With the last process of its own process namespace everything in there ends.
unshare --mount --net --pid --fork --mount-proc bash -euo pipefail -c inside

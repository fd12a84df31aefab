#!/usr/bin/env bash
# Installs the Debian package on this machine, runs it as its unit would (without systemd's sandbox, which
# needs systemd), upgrades it, removes it and purges it. Needs root, the ports 995 and 465, and a binary:
#   .ci/package-test.sh [BINARY]
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n--- %s\n' "$1"; }
fail() {
    printf 'FAILED: %s\n' "$1" >&2
    tail -n 20 "${work:-/nowhere}/log" >&2 || true
    exit 1
}
[ "$(id -u)" -eq 0 ] || fail "this needs root"
[ ! -e /etc/kimgate ] || fail "kimgate is installed here already"

work=$(mktemp -d)
chmod 755 "$work"
started=()
cleanup() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    dpkg --purge kimgate >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT
# The user, the empty set of capabilities and the privileges of the unit.
unit=(setpriv --reuid kimgate --regid kimgate --init-groups --bounding-set=-all --inh-caps=-all
    --no-new-privs --)
as_unit() { "${unit[@]}" "$@"; }
config=/etc/kimgate/kimgate.toml
until_true() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; fail "$*"; }

step "build"
export DPKG_DEB_COMPRESSOR_TYPE=none # it is thrown away again
binary=${1:-target/release/kimgate}
old=$(.ci/package.sh "$binary" "$work" 0.0.1-1)
new=$(.ci/package.sh "$binary" "$work" 0.0.1-2)
dpkg-deb --info "$new"
dpkg-deb --contents "$new"

step "install"
dpkg -i "$old"
[ "$(stat -c '%U:%G %a' $config)" = "root:kimgate 640" ] || fail "rights of $config"
[ "$(stat -c '%U:%G %a' /var/lib/kimgate)" = "kimgate:kimgate 700" ] || fail "rights of the state"
man -w kimgate >/dev/null 2>&1 || [ -e /usr/share/man/man1/kimgate.1.gz ] || fail "no man page"
bash -c '. /usr/share/bash-completion/completions/kimgate && complete -p kimgate' || fail "no completion"
command -v systemd-analyze >/dev/null && systemd-analyze verify --man=no \
    /usr/lib/systemd/system/kimgate.service /usr/lib/systemd/system/kimgate-*.socket

step "before it is configured it says what is missing"
said=$(as_unit /usr/bin/kimgate check --config $config 2>&1) && fail "an empty configuration is good?"
grep -q 'client_modules.main.host: is missing' <<<"$said" || fail "$said"

step "configure, with the simulated client module"
"${unit[@]}" /usr/bin/kimgate simulate --pop3 127.0.0.1:2995 --smtp 127.0.0.1:2465 >"$work/sim" 2>&1 &
started+=($!)
until_true grep -q Ctrl-C "$work/sim"
pins=$(sed -n 's/^ *certificate *//p' "$work/sim" | head -1)
python3 - "$config" "$pins" <<'PYTHON'
import sys
path, pins = sys.argv[1:]
text = open(path).read()
text = text.replace('#host = "192.168.0.22"', 'host = "127.0.0.1"\npop3_port = 2995\nsmtp_port = 2465')
text = text.replace("0.0.0.0:", "127.0.0.1:")
text = text.replace("[client_modules.main.trust]", "[client_modules.main.trust]\n" + pins)
text += '\n[workstations.PC1]\naddresses = ["127.0.0.1"]\n[accounts."prx@praxis.kim.telematik"]\n'
open(path, "w").write(text)
PYTHON
as_unit /usr/bin/kimgate check --config $config

serve() {
    # systemd holds the sockets and starts the service; this does so at the first connection.
    systemd-socket-activate -l 127.0.0.1:995 -l 127.0.0.1:465 --fdname=pop3s:smtps \
        "${unit[@]}" /usr/bin/kimgate run --config $config >"$work/log" 2>&1 &
    service=$!
    started+=($service)
}
login='prx%40praxis.kim.telematik%23mail.kim.telematik%3A995%23M1%23cs%23PC1'
fetch() { curl -sS --insecure --max-time 10 "pop3s://$login:geheim@127.0.0.1:995/"; }

step "run as the unit would, at ports 995 and 465 without root"
serve
until_true fetch
until_true as_unit /usr/bin/kimgate status --config $config
as_unit /usr/bin/kimgate status --config $config
[ "$(ps -o user= -p $service)" = kimgate ] || fail "it runs as $(ps -o user= -p $service)"
grep CapEff "/proc/$service/status"
[ -s /var/log/kimgate/audit.jsonl ] || fail "no audit"

step "reload as the unit would"
echo '[nonsense]' >>$config
as_unit /usr/bin/kimgate reload --address 127.0.0.1:9465 && fail "nonsense was accepted"
sed -i '$d' $config
sed -i 's/^\[accounts."prx@praxis.kim.telematik"\]/&\ndeny = ["workstation:PC1"]/' $config
as_unit /usr/bin/kimgate reload --config $config
sed -i '/^deny = /d' $config
as_unit /usr/bin/kimgate reload --config $config

step "upgrade: the configuration stays"
before=$(sha256sum <$config)
dpkg -i "$new"
[ "$(sha256sum <$config)" = "$before" ] || fail "the configuration was changed"
[ "$(dpkg-query -W -f '${Version}' kimgate)" = 0.0.1-2 ] || fail "not upgraded"
kill $service
wait $service || fail "it did not stop well"
serve
until_true fetch

step "remove: configuration and state stay; purge: nothing does"
kill $service
wait $service || true
kill "${started[0]}"
dpkg --remove kimgate
[ -e $config ] && [ -e /var/lib/kimgate ] && [ ! -e /usr/bin/kimgate ] || fail "remove"
dpkg --purge kimgate
left=$(find /etc /usr /var -name '*kimgate*')
[ -z "$left" ] || fail "left behind: $left"
echo "all well"

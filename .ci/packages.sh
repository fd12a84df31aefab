#!/usr/bin/env bash
# Installs the programs that tests talk to, as far as they are missing. Needs root only then.
set -euo pipefail

# program:package
wanted="curl:curl swaks:swaks fetchmail:fetchmail msmtp:msmtp dovecot:dovecot-pop3d
exim4:exim4-daemon-light openssl:openssl sslscan:sslscan promtool:prometheus python3:python3 gcc:gcc
kill:procps patch:patch"

PATH="$PATH:/usr/sbin"
missing=()
# `type -P`: a builtin of this shell is no program.
for entry in $wanted; do
    type -P "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
done
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
# swaks speaks TLS only with these, and recommends them no more than that.
perl -MNet::SSLeay -e1 2>/dev/null || missing+=(libnet-ssleay-perl)

if [ ${#missing[@]} -eq 0 ]; then
    echo "all there"
    exit 0
fi
echo "installing ${missing[*]}"
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
# Packages that start a daemon when they are installed must not: the tests start their own.
"${sudo[@]}" apt-get update -q
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -q -y --no-install-recommends "${missing[@]}"

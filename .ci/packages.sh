#!/usr/bin/env bash
# Installs the programs that tests talk to, as far as they are missing. Needs root only then.
set -euo pipefail
cd "$(dirname "$0")/.."

# program:package
wanted="curl:curl swaks:swaks fetchmail:fetchmail msmtp:msmtp dovecot:dovecot-pop3d
exim4:exim4-daemon-light openssl:openssl sslscan:sslscan promtool:prometheus python3:python3 gcc:gcc
kill:procps patch:patch fail2ban-regex:fail2ban thunderbird:thunderbird"

PATH="$PATH:/usr/sbin"
missing=()
# `type -P`: a builtin of this shell is no program.
for entry in $wanted; do
    type -P "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
done
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
# swaks speaks TLS only with these, and recommends them no more than that.
perl -MNet::SSLeay -e1 2>/dev/null || missing+=(libnet-ssleay-perl)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)

if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}"
    sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    # Packages that start a daemon when they are installed must not: the tests start their own.
    "${sudo[@]}" apt-get update -q
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

# An openssl that speaks brainpool in TLS 1.3, which Debian 12's does not; one test wants it.
pyopenssl=target/pyopenssl
if ! "$pyopenssl/bin/python" -c 'import OpenSSL' 2>/dev/null; then
    echo "installing pyOpenSSL in $pyopenssl"
    python3 -m venv "$pyopenssl"
    "$pyopenssl/bin/pip" install --quiet --disable-pip-version-check pyOpenSSL
fi
echo "all there"

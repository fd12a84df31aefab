#!/usr/bin/env bash
# Makes a certificate authority for a lab, the gateway's certificate and one for each workstation.
# For a practice, `kimgate certs` does the same without openssl.
set -euo pipefail

if [ $# -lt 1 ]; then
    echo "usage: $0 FOLDER [GATEWAY-NAME [WORKSTATION...]]" >&2
    echo "example: $0 ~/kimgate-lab kim.praxis.local PC1 PC2" >&2
    exit 2
fi
folder=$1
gateway=${2:-localhost}
shift $(($# > 1 ? 2 : 1))

umask 077
mkdir -p "$folder"
cd "$folder"
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    echo "$folder is inside a git repository; keys do not belong there" >&2
    exit 1
fi

key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc)

# Signs a certificate for NAME as FILE.pem with FILE.key; the rest are extensions.
issue() {
    local file=$1 name=$2 extensions=()
    shift 2
    for extension in "$@"; do
        extensions+=(-addext "$extension")
    done
    openssl req -x509 -CA ca.pem -CAkey ca.key "${key[@]}" -keyout "$file.key" -out "$file.pem" \
        -days 397 -subj "/CN=$name" -addext "basicConstraints=critical,CA:FALSE" \
        -addext "keyUsage=critical,digitalSignature" "${extensions[@]}" 2>/dev/null
    echo "$folder/$file.pem"
}

if [ ! -e ca.key ]; then
    openssl req -x509 "${key[@]}" -keyout ca.key -out ca.pem -days 1825 \
        -subj "/CN=kimgate lab authority" -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
    echo "$folder/ca.pem"
fi

case $gateway in
    *[!0-9.]*) names="DNS:$gateway,DNS:localhost,IP:127.0.0.1,IP:::1" ;;
    *) names="IP:$gateway,DNS:localhost,IP:127.0.0.1,IP:::1" ;;
esac
issue gateway "$gateway" "subjectAltName=$names" "extendedKeyUsage=serverAuth"
for workstation in "$@"; do
    issue "$workstation" "$workstation" "subjectAltName=DNS:$workstation" "extendedKeyUsage=clientAuth"
done

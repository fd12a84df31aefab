#!/bin/bash
# kimgate as a peer of the performance laboratory. Copy this file into the laboratory's peers/ folder.
# KIMGATE is the path of the binary. The configuration is that of a practice: rules and audit are on,
# and only errors are logged.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
NAME=kimgate
KIMGATE=${KIMGATE:-kimgate}
SMTP=$(port 91) POP3=$(port 92)
INFO='{"smtp":'$SMTP',"pop3":'$POP3',"sees_login":true,"upstream_tls":true,"verifies_upstream":true,"note":"login, policy, commands, audit"}'
start_peer() {
    {
        cat <<CFG
[gateway]
name = "localhost"
state_dir = "$RUN/state"
[listeners.smtps]
protocol = "smtp"
address = "127.0.0.1:$SMTP"
[listeners.pop3s]
protocol = "pop3"
address = "127.0.0.1:$POP3"
[tls]
certificate = "$CERT"
private_key = "$KEY"
[client_modules.main]
host = "localhost"
smtp_port = $UP_SMTP
pop3_port = $UP_POP3
[client_modules.main.trust]
ca = ["$CA"]
[policy]
unknown_accounts = "allow"
[limits]
connections = 5000
connections_per_workstation = 5000
[admin]
address = "127.0.0.1:$(port 93)"
[audit]
file = "$RUN/audit.jsonl"
[log]
level = "error"
[workstations.PC1]
addresses = ["127.0.0.1"]
CFG
        for n in $(seq 2 51); do
            printf '[workstations.PC%d]\naddresses = ["192.168.0.%d"]\nworkplaces = ["WP%d"]\n' "$n" "$n" "$n"
        done
        for n in $(seq 0 17) 900 901; do
            printf '[accounts."praxis%d@bench.kim.telematik"]\nallow = ["workstation:PC1", "workstation:PC%d"]\n' "$n" "$((n % 50 + 2))"
            # The laboratory uses this MAIL FROM for every login.
            printf 'send.senders = ["sender@bench.kim.telematik"]\n'
        done
    } >"$RUN/kimgate.toml"
    bg "$KIMGATE" run --config "$RUN/kimgate.toml"
    wait_port $SMTP $POP3
}
peer_main "$@"

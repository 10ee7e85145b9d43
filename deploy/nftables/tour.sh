#!/bin/sh
# A sandbox, a gateway and an outside in three network namespaces of this machine, to try the rules on.
#   tour.sh up     makes them and starts the gateway (needs root, `ip`, `nft`, `python3`, `curl`, and `sluicegate` on the path)
#   tour.sh down   ends what runs in them, and takes them away
set -eu
directory="${TMPDIR:-/tmp}/sluicegate-tour"
prefix=${TOUR:-sg}
sandbox=$prefix-sbx gateway=$prefix-gate outside=$prefix-net

# Runs something in one of them.
within() { where=$1; shift; ip netns exec "$where" "$@"; }

down() {
    for namespace in $sandbox $gateway $outside; do
        ip netns pids $namespace 2>/dev/null | xargs -r kill 2>/dev/null || true
        ip netns del $namespace 2>/dev/null || true
    done
    rm -rf "$directory"
}

up() {
    mkdir -p "$directory/www" "$directory/policies"
    cd "$directory"
    for namespace in $sandbox $gateway $outside; do
        ip netns add $namespace
        within $namespace ip link set lo up
    done
    ip -n $gateway link add veth-1 type veth peer name eth0 netns $sandbox
    ip -n $gateway link add wan type veth peer name eth0 netns $outside
    ip -n $gateway addr add 10.200.1.1/30 dev veth-1
    ip -n $gateway addr add 198.51.100.1/24 dev wan
    ip -n $sandbox addr add 10.200.1.2/30 dev eth0
    ip -n $outside addr add 198.51.100.2/24 dev eth0
    ip -n $gateway link set veth-1 up
    ip -n $gateway link set wan up
    ip -n $sandbox link set eth0 up
    ip -n $outside link set eth0 up
    ip -n $sandbox route add default via 10.200.1.1

    # The outside: a web server, and a name server that knows it by every name.
    echo 'hello from the origin' > www/index.html
    ip netns exec $outside python3 -m http.server --bind 198.51.100.2 --directory www 80 > origin.log 2>&1 &
    ip netns exec $outside python3 - > dns.log 2>&1 <<'END' &
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("198.51.100.2", 53))
while True:
    query, client = server.recvfrom(512)
    end = query.index(0, 12) + 5
    known = query[end - 4:end] == b"\0\1\0\1"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("198.51.100.2")
    head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if known else b"\0\0") + b"\0\0\0\0"
    server.sendto(head + query[12:end] + (record if known else b""), client)
END

    # The gateway. The outside has an address for documentation, which no gateway reaches unless it is exempt.
    cat > policies/policy.yaml <<'END'
mode: Limited
hostRules: [pkg.test]
END
    cat > gate.yaml <<'END'
policy: {path: policies}
listeners:
  - {address: "0.0.0.0:15001", kind: Transparent}
  - {address: "0.0.0.0:15053", kind: Dns}
dns: {servers: ["198.51.100.2:53"]}
guards: {exempt: [198.51.100.0/24]}
sandboxes:
  - {id: sbx-1, sources: [10.200.1.2]}
capture:
  interfaces: [{name: veth-1, sandbox: sbx-1}]
audit: {sinks: [{file: {path: audit.jsonl}}]}
END
    within $gateway sysctl -qw net.ipv4.ip_forward=0 net.ipv4.icmp_ratemask=6160
    sluicegate nft print --config gate.yaml > rules.nft
    within $gateway nft -f rules.nft
    ip netns exec $gateway sluicegate run --config gate.yaml --require-enforcement > gate.log 2>&1 &
    within $gateway curl -sf --retry 60 --retry-delay 1 --retry-all-errors http://127.0.0.1:9901/readyz
    within $gateway sluicegate nft verify --config gate.yaml
}

case "${1-}" in
    up) up ;;
    down) down ;;
    *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac

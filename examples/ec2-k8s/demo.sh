#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# `make demo`: builds Vita, raises the EC2 example on this machine, sends traffic between its two sites and checks what it sees.
# Everything is removed at the end, also after an error or Ctrl-C. With KEEP=1 it stays.
set -euo pipefail

readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly TOP=$(cd "$HERE/../.." && pwd)
readonly LAB=$HERE/lab.sh
readonly STATE=$("$LAB" state-dir)
readonly KEEP=${KEEP:-}

# What may cross the internet: ESP and the key exchange, between the gateways' public addresses. ARP is the links' own.
readonly SEALED='(ip proto 50 or (udp src port 303 and udp dst port 303)) and src net 203.0.113.0/24 and dst net 203.0.113.0/24'
readonly IN_CLEAR="not arp and not ($SEALED)"

# Seconds: how long the tunnel may take to come up, and how long each transfer lasts.
readonly TUNNEL_WAIT=60
readonly TRANSFER=5

# The example isolates two cores for the two workers of a gateway. Here both gateways are on one machine: with four cores every
# worker gets its own. With fewer, those of both gateways that carry one transfer would be on the same core, one waiting for the
# other; they are left to the kernel.
if [[ $(</sys/devices/system/cpu/online) =~ ^0-([0-9]+)$ ]] && [ "${BASH_REMATCH[1]}" -ge 3 ]; then
    readonly PIN_paris=(--cpu 0,1) PIN_tokyo=(--cpu 2,3)
else
    readonly PIN_paris=() PIN_tokyo=()
fi

RESULTS=()

main() {
    [ ! -e "$STATE" ] || die "the lab is up already; remove it with: $LAB down"
    build
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "the demo needs root for network namespaces and AF_XDP; there is no sudo here: run it as root"
        say "The rest needs root (network namespaces, AF_XDP)"
        exec sudo env KEEP="$KEEP" LAB_PREFIX="${LAB_PREFIX:-}" VITA="$VITA" PATH="$PATH" "$0"
    fi

    raise
    watch_the_internet
    start_gateways
    configure
    await_tunnel
    ping_both_ways
    trace_route
    transfer
    show_state
    judge_the_internet
    stop_or_keep
}

build() {
    [ -z "${VITA:-}" ] || return 0
    export PATH="$PATH:$HOME/.cargo/bin"
    "$TOP/tools/install-packages"
    command -v cargo >/dev/null || die "cargo is missing; https://rustup.rs installs Rust"
    say "Building Vita (the first time takes a few minutes)"
    (cd "$TOP" && cargo build --release --locked)
    VITA=${CARGO_TARGET_DIR:-$TOP/target}/release/vita
}

raise() {
    say "Raising two VPCs, their gateways and Kubernetes nodes, and the internet between them"
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    "$LAB" up
    RAISED=1
    "$LAB" status
    mkdir -p "$STATE/bin" "$STATE/run"
    ln -s "$VITA" "$STATE/bin/vita"
    ln -s "$VITA" "$STATE/bin/snabb"
    export PATH="$STATE/bin:$PATH"
    export SNABB_SHM_ROOT="$STATE/run" VITA_STATE_DIR="$STATE/history"
}

# Two captures: a few of all packets, to show; and every packet that should not be there, to count. The second one is proven to
# work at the end, with a packet that it must catch. Both look at packets where they enter the internet, which is once for each:
# a capture costs the transfers time.
watch_the_internet() {
    in_background internet sample tcpdump -i any -Q in -n -U --immediate-mode -c 24 -Z root -w "$STATE/sample.pcap" "$SEALED"
    in_background internet trap tcpdump -i any -Q in -n -U --immediate-mode -Z root -w "$STATE/trap.pcap" "$IN_CLEAR"
    await 10 "tcpdump does not start" grep -qs 'listening on' "$STATE/trap.log"
}

start_gateways() {
    local site
    say "Starting both gateways, two workers each"
    for site in paris tokyo; do
        local -n pin=PIN_$site
        echo "vita-$site\$ vita --name $site --xdp${pin[*]:+ ${pin[*]}}"
        in_background "vita-$site" "vita-$site" vita --name "$site" --xdp "${pin[@]}"
    done
    for site in paris tokyo; do
        await 20 "vita-$site does not answer" silently snabb config get "$site" /mtu
    done
}

configure() {
    local site
    say "Configuring them"
    for site in paris tokyo; do
        echo "vita-$site\$ snabb config set $site / < vita-$site.conf"
        snabb config set "$site" / <"$HERE/vita-$site.conf" || die "vita-$site refuses vita-$site.conf"
    done
}

await_tunnel() {
    say "Waiting for the key exchange and the first packet"
    local started=$SECONDS
    await "$TUNNEL_WAIT" "no keys were agreed upon" keys_agreed
    await "$TUNNEL_WAIT" "no ping comes back through the tunnel" silently node kube-node-paris ping -c 1 -W 1 172.32.1.50
    passed "tunnel up $((SECONDS - started)) s after the configuration"
    node internet tcpdump -n -r "$STATE/sample.pcap" 2>/dev/null | head -8 || true
}

keys_agreed() {
    local site initiated responded
    for site in paris tokyo; do
        # As initiator or as responder: either gives a pair of keys.
        initiated=$(counter "$site" /gateway-state/key-manager/keypairs-negotiated)
        responded=$(counter "$site" /gateway-state/key-manager/keypairs-offered)
        [ $((initiated + responded)) -ge 1 ] || return 1
    done
}

ping_both_ways() {
    say "Ping, site to site, in both directions"
    ping_once paris 172.32.1.50
    ping_once tokyo 172.31.1.50
}

ping_once() {
    local site=$1 target=$2 output
    output=$(node "kube-node-$site" ping -c 20 -i 0.1 -W 2 "$target") || die "kube-node-$site cannot ping $target: $output"
    tail -3 <<<"$output"
    grep -q ' 0% packet loss' <<<"$output" || die "pings from kube-node-$site to $target were lost"
    passed "ping kube-node-$site to $target: 20 of 20, $(sed -n 's|^rtt [^=]*= [^/]*/\([^/]*\)/.*|\1 ms on average|p' <<<"$output")"
}

trace_route() {
    say "Traceroute: own gateway, far gateway, target"
    local output hops
    output=$(node kube-node-paris traceroute -n -q 1 -w 3 -m 8 172.32.1.50)
    echo "$output"
    hops=$(awk 'NR > 1 { printf "%s ", $2 }' <<<"$output")
    [ "$hops" = "172.31.1.20 172.32.1.20 172.32.1.50 " ] || die "the route is not own gateway, far gateway, target, but: $hops"
    passed "traceroute: exactly two gateway hops, then the target"
}

transfer() {
    say "Transfers of $TRANSFER seconds each (both sites, both gateways and the internet share the cores of this machine)"
    in_background kube-node-tokyo iperf3 iperf3 -s --forceflush
    await 10 "the iperf3 server does not start" grep -qs 'Server listening' "$STATE/iperf3.log"
    iperf "TCP paris to tokyo"
    iperf "TCP tokyo to paris" -R
    iperf "UDP paris to tokyo, 100 Mbit/s offered" -u -b 100M -l 1300
}

iperf() {
    local what=$1 output figure
    shift
    output=$(node kube-node-paris timeout $((TRANSFER + 30)) iperf3 -c 172.32.1.50 -t "$TRANSFER" -f m "$@" 2>&1) ||
        die "$what: iperf3 fails: $output"
    figure=$(sed -n 's/^\[ *[0-9]*\] .* \([0-9.]* Mbits\/sec\) .*receiver.*/\1/p' <<<"$output")
    [ -n "$figure" ] || die "$what: iperf3 received nothing: $output"
    awk '{ exit !($1 > 0) }' <<<"$figure" || die "$what: iperf3 received nothing: $output"
    grep receiver <<<"$output"
    case $* in *-u*) figure+=", $(sed -n 's/.* \([0-9]*\/[0-9]* ([^)]*)\) *receiver.*/lost \1/p' <<<"$output")" ;; esac
    passed "$what: $figure"
}

show_state() {
    say "What the gateways counted"
    local site
    for site in paris tokyo; do
        echo "vita-$site\$ snabb config get-state $site /gateway-state/key-manager"
        snabb config get-state "$site" /gateway-state/key-manager | grep -v ' 0;$' || true
        echo "vita-$site\$ snabb config get-state $site /gateway-state/public-interface"
        snabb config get-state "$site" /gateway-state/public-interface | grep -v ' 0;$' || true
    done
}

judge_the_internet() {
    say "The internet between the sites: was anything readable?"
    local packets clear
    packets=$(($(received paris) + $(received tokyo)))
    clear=$(clear_packets)
    if [ "$clear" -ne 0 ]; then
        node internet tcpdump -n -r "$STATE/trap.pcap" 2>/dev/null | head -10
        die "$clear packets crossed the internet that are neither ESP nor the key exchange"
    fi
    # The node's management address leads straight across the internet, past the gateways.
    silently node kube-node-paris ping -c 1 -W 2 203.0.113.8 || true
    await 10 "the capture caught nothing, not even the packet that was sent in clear on purpose" caught_something
    passed "internet: $packets packets crossed it, 0 of them in clear (and the capture did catch one sent in clear on purpose)"
}

caught_something() { [ "$(clear_packets)" -gt 0 ]; }

clear_packets() { node internet tcpdump -n -r "$STATE/trap.pcap" "$IN_CLEAR" 2>/dev/null | wc -l; }

received() { node internet cat "/sys/class/net/$1/statistics/rx_packets"; }

stop_or_keep() {
    if [ -n "$KEEP" ]; then
        kill "$(cat "$STATE/trap.pid")"
        summary
        cat <<KEPT

The lab stays up (KEEP=1). To look around, as root:
    export PATH=$STATE/bin:\$PATH SNABB_SHM_ROOT=$STATE/run
    snabb config get-state paris /gateway-state
    $LAB status
    $LAB exec kube-node-paris ping 172.32.1.50
    $LAB exec internet tcpdump -n -i any
    tail -f $STATE/vita-paris.log
To stop one gateway:  kill \$(cat $STATE/vita-paris.pid)
To remove it all:     $LAB down
KEPT
        RAISED=''
        return
    fi
    say "Stopping the gateways"
    local site code
    for site in paris tokyo; do
        kill -TERM "$(cat "$STATE/vita-$site.pid")"
    done
    for site in paris tokyo; do
        code=0
        wait "$(cat "$STATE/vita-$site.pid")" || code=$?
        [ "$code" -eq 0 ] || die "vita-$site exits with $code"
    done
    passed "both gateways stopped when asked to"
    summary
}

summary() {
    say "Summary"
    cat <<'BUILT'
Built on this machine: two data centres, Paris (172.31.0.0/16) and Tokyo (172.32.0.0/16), each with a Kubernetes node and a Vita
gateway of two workers behind the address translation of its cloud, joined by an internet that nobody trusts. The gateways agreed on keys
by themselves; all traffic between the nodes went through their encrypted tunnel.
BUILT
    local result
    for result in "${RESULTS[@]}"; do
        echo "  ok  $result"
    done
    echo "All ${#RESULTS[@]} checks passed."
}

# Runs on every exit.
finish() {
    local code=$?
    trap '' INT TERM HUP
    trap - EXIT
    if [ -n "${RAISED:-}" ]; then
        if [ "$code" -ne 0 ]; then
            local log
            for log in "$STATE"/vita-*.log; do
                [ ! -s "$log" ] || { echo "--- the end of $(basename "$log"):"; tail -15 "$log"; } >&2
            done
        fi
        "$LAB" down && echo "(the lab is removed)"
    fi
    exit "$code"
}

# NODE NAME COMMAND...: leaves NAME.pid and NAME.log in the lab's directory. In a session of its own, so that Ctrl-C ends the
# demo, which then ends it in order.
in_background() {
    local node=$1 name=$2
    shift 2
    setsid "$LAB" exec "$node" "$@" >"$STATE/$name.log" 2>&1 </dev/null &
    echo $! >"$STATE/$name.pid"
}

# SECONDS MESSAGE COMMAND...: until the command succeeds.
await() {
    local deadline=$((SECONDS + $1)) message=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || die "$message"
        sleep 0.2
    done
}

counter() {
    local value
    value=$(snabb config get-state "$1" "$2" 2>/dev/null) || value=0
    [[ $value =~ ^[0-9]+$ ]] || value=0
    echo "$value"
}

# In a shell of its own: what the demo says when Ctrl-C ends it meanwhile is not to be silenced.
silently() { ("$@") >/dev/null 2>&1; }
node() { "$LAB" exec "$@"; }
passed() { RESULTS+=("$1"); }
say() { printf '\n== %s\n' "$*"; }

die() {
    echo "demo: FAILED: $*" >&2
    exit 1
}

main "$@"

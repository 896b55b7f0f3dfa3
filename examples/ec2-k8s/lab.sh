#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The EC2 example on one machine: two VPCs, their gateways and Kubernetes nodes, and the internet between them, each in a
# network namespace of its own. README.md in this directory has the picture.
#
#   lab.sh up                    build it
#   lab.sh status                what is there
#   lab.sh exec NODE COMMAND...  run a command on a node, for example: lab.sh exec kube-node-paris ping 172.32.1.50
#   lab.sh state-dir             the directory that belongs to this lab (pid files, logs, control sockets)
#   lab.sh down                  stop what runs in it and remove it; does nothing where nothing is
#
# LAB_PREFIX is put before every namespace's name, so that several labs can stand side by side.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

readonly PREFIX=${LAB_PREFIX:-}
readonly STATE=/run/vita-lab/${PREFIX:-lab}
readonly NODES=(internet vpc-paris vpc-tokyo vita-paris vita-tokyo kube-node-paris kube-node-tokyo)

# name of the VPC, second byte of its subnet, its transit link to the internet (far end, own end)
readonly PARIS=(paris 31 198.51.100.1 198.51.100.2)
readonly TOKYO=(tokyo 32 198.51.100.5 198.51.100.6)

# private address, public address: what each VPC's edge translates, one to one
readonly PARIS_NAT=(172.31.1.10 203.0.113.1  172.31.1.30 203.0.113.2  172.31.1.40 203.0.113.3  172.31.1.50 203.0.113.7)
readonly TOKYO_NAT=(172.32.1.10 203.0.113.4  172.32.1.30 203.0.113.5  172.32.1.40 203.0.113.6  172.32.1.50 203.0.113.8)

# MAC addresses of eth0 (management), eth1 (private), eth2 and eth3 (public) of each gateway
readonly PARIS_MACS=(0a:1f:5e:70:13:06 0a:cc:b1:e4:24:d2 0a:42:13:9e:a8:ae 0a:33:39:04:9c:ac)
readonly TOKYO_MACS=(06:8d:21:b4:0e:52 06:5a:c7:19:e2:3c 06:71:90:4d:b6:28 06:e3:0b:85:f7:9a)

main() {
    case ${1:-} in
        up) require_root; up ;;
        down) require_root; down ;;
        status) status ;;
        exec)
            [ $# -ge 3 ] || die "usage: lab.sh exec NODE COMMAND..."
            require_root
            local node=$2
            shift 2
            [ -e "/run/netns/$PREFIX$node" ] || die "there is no node '$node' here; lab.sh status lists them, lab.sh up builds them"
            exec ip netns exec "$PREFIX$node" "$@"
            ;;
        state-dir) printf '%s\n' "$STATE" ;;
        *)
            sed -n '6,14s/^# \{0,1\}//p' "$0"
            exit 1
            ;;
    esac
}

up() {
    local node
    [ ! -e "$STATE" ] || die "this lab is up already (lab.sh status); remove it with: ${PREFIX:+LAB_PREFIX=$PREFIX }$0 down"
    for node in "${NODES[@]}"; do
        [ ! -e "/run/netns/$PREFIX$node" ] ||
            die "a network namespace '$PREFIX$node' exists that is not of this lab; remove it (ip netns del $PREFIX$node) or set LAB_PREFIX"
    done

    trap roll_back EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # The last lab that goes down removes the directory above; it may do so right here.
    local attempt
    for attempt in 1 2 3 4 5; do
        mkdir -p "$(dirname "$STATE")"
        ! mkdir -m 700 "$STATE" 2>/dev/null || break
    done
    [ -d "$STATE" ] || die "cannot make the directory $STATE"
    for node in "${NODES[@]}"; do
        printf '%s\n' "$PREFIX$node" >>"$STATE/namespaces"
        ip netns add "$PREFIX$node"
        on "$node" link set lo up
    done
    settings "${NODES[@]}"
    forwarding internet vpc-paris vpc-tokyo

    vpc "${PARIS[@]}" "${PARIS_NAT[@]}"
    vpc "${TOKYO[@]}" "${TOKYO_NAT[@]}"
    gateway paris 31 "${PARIS_MACS[@]}"
    gateway tokyo 32 "${TOKYO_MACS[@]}"
    kube_node paris 31 32 0a:9b:62:d8:35:f1
    kube_node tokyo 32 31 06:2e:44:a3:7c:1d
    trap - EXIT INT TERM HUP
}

# Removes exactly the namespaces that `up` wrote down, after the processes that were started inside them.
down() {
    [ -e "$STATE" ] || return 0
    local namespace
    touch "$STATE/namespaces"
    stop_processes TERM 50
    stop_processes KILL 50
    while read -r namespace; do
        [ ! -e "/run/netns/$namespace" ] || ip netns del "$namespace" || true
    done <"$STATE/namespaces"
    rm -rf "$STATE"
    rmdir "$(dirname "$STATE")" 2>/dev/null || true
}

status() {
    local node
    if [ ! -e "$STATE" ]; then
        echo "down (no $STATE)"
        return
    fi
    for node in "${NODES[@]}"; do
        if [ ! -e "/run/netns/$PREFIX$node" ]; then
            printf '%s: missing\n' "$PREFIX$node"
            continue
        fi
        printf '%s\n' "$PREFIX$node"
        ip -n "$PREFIX$node" -brief link show | awk '$1 != "lo" { sub(/@.*/, "", $1); print $1, $2, $3 }' |
            while read -r device state mac; do
                printf '    %-10s %-8s %s  %s\n' "$device" "$state" "$mac" \
                    "$(ip -n "$PREFIX$node" -4 -brief address show dev "$device" | awk '{ print $3 }')"
            done
        ip netns pids "$PREFIX$node" 2>/dev/null | while read -r pid; do
            printf '    runs: %s (pid %s)\n' "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" "$pid"
        done
    done
}

# A VPC: its subnet is a bridge, whose own address is the default gateway; behind it the internet gateway, which rewrites the
# private address of a packet that leaves into its public one, and back. It does so without connection tracking, packet by
# packet and for every protocol: ESP and UDP/303 pass both ways, ports unchanged, whoever speaks first.
vpc() {
    local name=$1 net=$2 far=$3 near=$4
    shift 4
    on "vpc-$name" link add name subnet address "02:00:00:00:$net:01" type bridge mcast_snooping 0
    on "vpc-$name" address add "172.$net.0.1/16" dev subnet
    on "vpc-$name" link set subnet up

    cable "vpc-$name" internet "02:00:00:00:$net:02" internet "$name" 1
    on "vpc-$name" address add "$near/30" dev internet
    on internet address add "$far/30" dev "$name"
    on "vpc-$name" route add default via "$far"

    local to_private='' to_public=''
    while [ $# -ge 2 ]; do
        on internet route add "$2" via "$near"
        to_private+="$2 : $1, "
        to_public+="$1 : $2, "
        shift 2
    done
    ip netns exec "${PREFIX}vpc-$name" nft -f - <<RULES
table ip internet_gateway {
    map to_private { type ipv4_addr : ipv4_addr; elements = { ${to_private%, } }; }
    map to_public { type ipv4_addr : ipv4_addr; elements = { ${to_public%, } }; }
    chain arriving {
        type filter hook prerouting priority raw;
        iifname "internet" ip daddr set ip daddr map @to_private
    }
    chain leaving {
        type filter hook postrouting priority raw;
        oifname "internet" ip saddr set ip saddr map @to_public
    }
}
RULES
}

# A gateway instance with its four interfaces. Only the management interface gets an address: the addresses of the others
# belong to Vita, which answers ARP for them itself. eth1 has a receive and transmit queue for each of the two workers.
gateway() {
    local name=$1 net=$2
    shift 2
    cable "vita-$name" eth0 "$1" "vpc-$name" vita-eth0 1
    cable "vita-$name" eth1 "$2" "vpc-$name" vita-eth1 2
    cable "vita-$name" eth2 "$3" "vpc-$name" vita-eth2 1
    cable "vita-$name" eth3 "$4" "vpc-$name" vita-eth3 1
    local port
    for port in vita-eth0 vita-eth1 vita-eth2 vita-eth3; do
        on "vpc-$name" link set "$port" master subnet
    done
    on "vita-$name" address add "172.$net.1.10/16" dev eth0
    on "vita-$name" route add default via "172.$net.0.1"
}

kube_node() {
    local name=$1 net=$2 remote=$3 mac=$4
    cable "kube-node-$name" eth0 "$mac" "vpc-$name" kube-eth0 1
    on "vpc-$name" link set kube-eth0 master subnet
    on "kube-node-$name" address add "172.$net.1.50/16" dev eth0
    on "kube-node-$name" route add default via "172.$net.0.1"
    on "kube-node-$name" route add "172.$remote.0.0/16" via "172.$net.1.20" dev eth0 mtu 1440
    # The router of a VPC is no hop between two addresses of its subnet: what it gets for a node it passes on as it is.
    ip netns exec "${PREFIX}vpc-$name" nft -f - <<RULES
table bridge vpc_router {
    chain arriving {
        type filter hook prerouting priority dstnat
        ether daddr 02:00:00:00:$net:01 ip daddr 172.$net.1.50 ether daddr set $mac
    }
}
RULES
}

# A veth pair: NODE DEVICE MAC to FAR-NODE FAR-DEVICE. Its offloads are off at both ends, because there is no hardware that
# would do that work: what an AF_XDP socket receives would be super-frames and packets whose checksum is still to be filled in.
cable() {
    local node=$1 device=$2 mac=$3 far_node=$4 far_device=$5 queues=$6
    on "$far_node" link add name "$far_device" numtxqueues "$queues" numrxqueues "$queues" type veth \
        peer name "$device" address "$mac" numtxqueues "$queues" numrxqueues "$queues" netns "$PREFIX$node"
    ip netns exec "$PREFIX$node" ethtool -K "$device" tx off gso off tso off gro off >/dev/null
    ip netns exec "$PREFIX$far_node" ethtool -K "$far_device" tx off gso off tso off gro off >/dev/null
    on "$node" link set "$device" up
    on "$far_node" link set "$far_device" up
}

# What every node wants of its kernel: no IPv6 chatter in the captures, no redirects, no ARP answers for an address of another
# interface, no limit on the ICMP errors that traceroute waits for, and bridges that leave forwarded packets alone.
settings() {
    local node
    for node in "$@"; do
        kernel "$node" \
            ipv6/conf/all/disable_ipv6=1 ipv6/conf/default/disable_ipv6=1 \
            ipv4/conf/all/send_redirects=0 ipv4/conf/default/send_redirects=0 \
            ipv4/conf/all/accept_redirects=0 ipv4/conf/default/accept_redirects=0 \
            ipv4/conf/all/rp_filter=0 ipv4/conf/default/rp_filter=0 \
            ipv4/conf/all/arp_ignore=1 ipv4/conf/default/arp_ignore=1 \
            ipv4/conf/all/arp_announce=2 ipv4/conf/default/arp_announce=2 \
            ipv4/icmp_ratelimit=0 ipv4/ip_forward=0 bridge/bridge-nf-call-iptables=0
    done
}

forwarding() {
    local node
    for node in "$@"; do
        kernel "$node" ipv4/ip_forward=1
    done
}

# Settings that this kernel does not have are left out.
kernel() {
    local node=$1
    shift
    # shellcheck disable=SC2016
    ip netns exec "$PREFIX$node" sh -c '
        for setting; do
            file=/proc/sys/net/${setting%%=*}
            [ ! -e "$file" ] || echo "${setting#*=}" >"$file"
        done' sh "$@"
}

stop_processes() {
    local signal=$1 tenths=$2 namespace pids
    while :; do
        pids=''
        while read -r namespace; do
            [ ! -e "/run/netns/$namespace" ] || pids+=" $(ip netns pids "$namespace" 2>/dev/null | tr '\n' ' ')"
        done <"$STATE/namespaces"
        [ -n "${pids// /}" ] || return 0
        [ "$tenths" -gt 0 ] || return 0
        if [ -n "$signal" ]; then
            # shellcheck disable=SC2086
            kill -s "$signal" $pids 2>/dev/null || true
            signal=''
        fi
        sleep 0.1
        tenths=$((tenths - 1))
    done
}

roll_back() {
    local code=$?
    trap - EXIT
    echo "lab.sh: the lab could not be built; removing what there is of it" >&2
    down
    exit "$code"
}

on() {
    local node=$1
    shift
    ip -n "$PREFIX$node" "$@"
}

require_root() {
    [ "$(id -u)" -eq 0 ] || die "network namespaces need root: sudo $0"
}

die() {
    echo "lab.sh: $*" >&2
    exit 1
}

main "$@"

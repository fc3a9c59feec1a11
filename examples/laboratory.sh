#!/usr/bin/env bash
# A network for trying live agents on one machine: four network namespaces, made and removed by this script, as root.
#
#     correspondent (fc-cn)                       mobile node (fc-mn)
#      2001:db8:c::2                     wlan: 2001:db8:a::2   lte: 2001:db8:b::2
#            |                                   |                  |
#           router between all of them (fc-core)
#            |
#      home agent (fc-ha), 2001:db8:100::1, home prefix 2001:db8:100::/64
#
# laboratory.sh up [FOLDER]    makes it, and FOLDER (laboratory) with a configuration for each agent
# laboratory.sh down           removes the namespaces, and ends what runs in them
# laboratory.sh in NAME COMMAND...    runs a command as cn, core, ha or mn
set -eu

names="cn core ha mn"

in_one() { local name=$1; shift; ip netns exec "fc-$name" "$@"; }

pair() { # pair NAME DEVICE DEVICE_OF_CORE NETWORK METRIC: NAME is NETWORK::2, and the core NETWORK::1 its router
    ip link add name "$2" netns "fc-$1" type veth peer name "$3" netns fc-core
    in_one core ip addr add "$4::1/64" dev "$3" nodad
    in_one core ip link set "$3" up
    in_one "$1" ip addr add "$4::2/64" dev "$2" nodad
    in_one "$1" ip link set "$2" up
    in_one "$1" ip -6 route add default via "$4::1" dev "$2" metric "$5"
}

up() {
    local folder=${1:-laboratory}
    for name in $names; do
        ip netns add "fc-$name"
        in_one "$name" ip link set lo up
    done
    for name in core ha; do in_one "$name" sysctl -q -w net.ipv6.conf.all.forwarding=1; done
    pair cn eth0 correspondent 2001:db8:c 1024
    pair ha eth0 agent 2001:db8:f 1024
    pair mn wlan wlan 2001:db8:a 1024
    pair mn lte lte 2001:db8:b 1025
    in_one core ip -6 route add 2001:db8:100::/64 via 2001:db8:f::2
    mkdir -p "$folder"
    cat >"$folder/ha.toml" <<'TOML'
home_agent = "2001:db8:100::1"
home_prefixes = ["2001:db8:100::/64"]
store = "bindings.sqlite"

[security]
insecure = true # this network has nobody else in it
TOML
    cat >"$folder/mn.toml" <<'TOML'
home_address = "2001:db8:100::5"
home_agent = "2001:db8:100::1"

[[care_of]]
bid = 1
interface = "wlan"
priority = 20

[[care_of]]
bid = 2
interface = "lte"
priority = 10 # the lower number: the default binding

[[flow]]
fid = 1
pri = 1
bids = [1]
selector = { protocol = "icmpv6" }

[security]
insecure = true
TOML
    echo 'address = "2001:db8:c::2"' >"$folder/cn.toml"
    echo "made: fc-cn, fc-core, fc-ha, fc-mn, and $folder/ha.toml, $folder/mn.toml, $folder/cn.toml"
}

down() {
    for name in mn cn ha core; do # the mobile node first: it says good-bye to its home agent
        [ -e "/run/netns/fc-$name" ] || continue
        ip netns pids "fc-$name" | xargs -r kill 2>/dev/null || true
        while [ -n "$(ip netns pids "fc-$name")" ]; do sleep 0.05; done # they may still write files
        ip netns del "fc-$name"
    done
}

case ${1:-} in
up) up "${2:-}" ;;
down) down ;;
in) shift; name=$1; shift; exec ip netns exec "fc-$name" "$@" ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | head -n 16; exit 2 ;;
esac

#!/bin/sh
# Four hosts on one machine: network namespaces PREFIX-a to PREFIX-d with 10.77.0.1
# to .4 on one switch, which nothing outside reaches. Needs root and iproute2.
#
#   net.sh up PREFIX              make them
#   net.sh run PREFIX HOST CMD…   run CMD on a host (a, b, c, d), whose hostname it sees
#   net.sh cut PREFIX HOST        pull the cable of b, c or d
#   net.sh mend PREFIX HOST       plug it in again
#   net.sh delay PREFIX HOST TIME delay what the host sends (kernel module sch_netem)
#   net.sh down PREFIX            remove them, whatever is left
set -eu

usage() {
	sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
	exit 2
}
[ $# -ge 2 ] || usage
verb=$1 prefix=$2
shift 2

up() {
	for h in a b c d; do
		ip netns add "$prefix-$h"
		ip -n "$prefix-$h" link set lo up
	done
	ip -n "$prefix-a" link add switch type bridge
	ip -n "$prefix-a" addr add 10.77.0.1/24 dev switch
	ip -n "$prefix-a" link set switch up
	n=2
	for h in b c d; do
		ip -n "$prefix-a" link add "port-$h" type veth peer name eth0 netns "$prefix-$h"
		ip -n "$prefix-a" link set "port-$h" master switch up
		ip -n "$prefix-$h" addr add "10.77.0.$n/24" dev eth0
		ip -n "$prefix-$h" link set eth0 up
		n=$((n + 1))
	done
}

case $verb in
up) up ;;
run)
	host=$1
	shift
	# The hostname is the sandbox's own; exec keeps one process, which signals reach.
	exec ip netns exec "$prefix-$host" unshare --uts sh -c \
		'echo "$0" >/proc/sys/kernel/hostname; exec "$@"' "host-$host" "$@"
	;;
cut) ip -n "$prefix-a" link set "port-$1" down ;;
mend) ip -n "$prefix-a" link set "port-$1" up ;;
delay) tc -n "$prefix-$1" qdisc replace dev eth0 root netem delay "$2" ;;
down)
	for h in a b c d; do
		[ ! -e "/run/netns/$prefix-$h" ] || ip netns del "$prefix-$h"
	done
	;;
*) usage ;;
esac

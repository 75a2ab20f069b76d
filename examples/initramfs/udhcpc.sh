#!/bin/busybox sh
# shellcheck shell=dash
# busybox's udhcpc runs this script when it has a lease. It sets the address, the route and the
# name servers from udhcpc's variables, which are in lower case.

[ "$1" = bound ] || [ "$1" = renew ] || exit 0
: "${interface:?}" "${ip:?}"
ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}" up
for gateway in ${router:-}; do
    route add default gw "$gateway" dev "$interface" && break
done
for server in ${dns:-}; do
    mkdir -p /etc && echo "nameserver $server" >>/etc/resolv.conf
done

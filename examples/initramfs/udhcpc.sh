#!/bin/busybox sh
# shellcheck shell=dash
# What busybox's udhcpc calls when it has a lease: address, route and name servers. The variables in lower case are its.

[ "$1" = bound ] || [ "$1" = renew ] || exit 0
: "${interface:?}" "${ip:?}"
ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}" up
for gateway in ${router:-}; do
    route add default gw "$gateway" dev "$interface" && break
done
for server in ${dns:-}; do
    mkdir -p /etc && echo "nameserver $server" >>/etc/resolv.conf
done

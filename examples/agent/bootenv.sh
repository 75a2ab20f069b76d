#!/bin/sh
# The variables of a boot loader in a plain file, for trying the agents without one. A real machine has fw_printenv and fw_setenv
# of U-Boot, grub-editenv, or a small file on a separate partition.
#
# bootenv.sh FILE get NAME prints a variable, or nothing. bootenv.sh FILE set NAME VALUE sets one.
set -eu

file=$1
case $2 in
    get) [ ! -f "$file" ] || sed -n "s/^$3=//p" "$file" ;;
    set)
        { [ ! -f "$file" ] || sed "/^$3=/d" "$file"; echo "$3=$4"; } > "$file.new"
        sync "$file.new"
        mv "$file.new" "$file"
        sync "$(dirname "$file")"
        ;;
esac

#!/bin/bash
# A dracut module with pullet, its CA certificates, and the kernel modules for networks, disks and root file systems.
# shellcheck disable=SC2154 # dracut sets moddir

# Included only on request: dracut --add pullet.
check() {
    require_binaries pullet || return 1
    return 255
}

depends() {
    echo base network
}

installkernel() {
    # Include the modules for all machines, not only for this one.
    hostonly='' instmods overlay ext4 =drivers/block
}

install() {
    inst_multiple pullet
    # For pullet.ca=/etc/pullet/ca.pem. Without it, pullet uses its built-in Mozilla roots.
    inst_multiple -o /etc/pullet/ca.pem
    inst_hook cmdline 90 "$moddir/parse-pullet.sh"
    inst_hook mount 90 "$moddir/mount-pullet.sh"
    dracut_need_initqueue
}

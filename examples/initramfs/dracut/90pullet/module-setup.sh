#!/bin/bash
# A module of dracut: pullet, the certificates it shall trust, and the modules of networks and of what roots lie on.
# shellcheck disable=SC2154 # moddir is dracut's

# Only for who asks for it: dracut --add pullet.
check() {
    require_binaries pullet || return 1
    return 255
}

depends() {
    echo base network
}

installkernel() {
    # Also for another machine than this one.
    hostonly='' instmods overlay ext4 =drivers/block
}

install() {
    inst_multiple pullet
    # For pullet.ca=/etc/pullet/ca.pem. Without it pullet has Mozilla's roots built in.
    inst_multiple -o /etc/pullet/ca.pem
    inst_hook cmdline 90 "$moddir/parse-pullet.sh"
    inst_hook mount 90 "$moddir/mount-pullet.sh"
    dracut_need_initqueue
}

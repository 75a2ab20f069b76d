SUMMARY = "docker pull for small machines"
DESCRIPTION = "pullet downloads container images and unpacks them into root filesystems, without a daemon."
HOMEPAGE = "@HOMEPAGE@"
BUGTRACKER = "@HOMEPAGE@/issues"
SECTION = "console/utils"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = " \
    file://LICENSE-MIT;md5=@MIT_MD5@ \
    file://LICENSE-APACHE;md5=@APACHE_MD5@ \
"

SRC_URI = "@HOMEPAGE@/releases/download/v${PV}/pullet-${PV}.tar.gz"
SRC_URI[sha256sum] = "@SHA256@"

require ${BPN}-crates.inc

inherit bash-completion cargo cargo-update-recipe-crates

do_install:append() {
    install -d ${D}${mandir}/man1
    install -m 0644 ${S}/share/man/man1/*.1 ${D}${mandir}/man1/
    install -d ${D}${datadir}/bash-completion/completions
    install -m 0644 ${S}/share/bash-completion/completions/pullet ${D}${datadir}/bash-completion/completions/
    # For machines that boot from a registry: the module of dracut.
    install -d ${D}${nonarch_libdir}/dracut/modules.d/90pullet
    install -m 0755 ${S}/examples/initramfs/dracut/90pullet/*.sh ${D}${nonarch_libdir}/dracut/modules.d/90pullet/
}

PACKAGES =+ "${PN}-dracut"
SUMMARY:${PN}-dracut = "module of dracut that boots from a registry with pullet"
FILES:${PN}-dracut = "${nonarch_libdir}/dracut"
RDEPENDS:${PN}-dracut = "${PN} dracut"

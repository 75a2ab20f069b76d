#!/bin/sh
# Makes the binary seeds with tar, gzip and zstd. The text seeds in fuzz/seeds are written by hand.
set -eu
cd "$(dirname "$0")/seeds"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
long=$(printf '%0150d' 0)
mkdir -p "$work/d"
printf 'hello' >"$work/d/file"
printf 'long' >"$work/$long"
ln -s file "$work/d/link"
ln "$work/d/file" "$work/hard"
mkfifo "$work/pipe"
truncate -s 20000 "$work/sparse"
for at in 0 12288; do
    printf 'data' | dd of="$work/sparse" bs=1 seek=$at conv=notrunc status=none
done

pack() {
    tar --create --blocking-factor=1 --sort=name --mtime=@1700000000 --owner=0:0 --group=0:0 -C "$work" "$@"
}
pack --format=v7 d hard >archive/v7
pack --format=ustar d hard pipe >archive/ustar
pack --format=gnu "$long" >archive/gnu
pack --format=pax --pax-option=delete=atime,delete=ctime "$long" >archive/pax
pack --format=gnu --sparse sparse >archive/sparse-gnu
for version in 0.0 0.1 1.0; do
    pack --format=pax --pax-option=delete=atime,delete=ctime --sparse --sparse-version=$version sparse \
        >archive/sparse-$version
done

printf 'hello hello hello hello\n' >"$work/text"
gzip -9n <"$work/text" >decoder/gzip
cat decoder/gzip decoder/gzip >decoder/members
printf '\037\213\010\036\0\0\0\0\0\003\002\0xyname\0comment\0' >decoder/header
zstd -q --no-check <"$work/text" >decoder/zstd
zstd -q --check -19 <archive/sparse-0.1 >decoder/checked
{ printf '\120\052\115\030\004\0\0\0skip'; cat decoder/zstd decoder/checked; } >decoder/frames

#!/bin/sh
# Makes a base image of Debian's packages, for where none can be pulled: base.sh NAME [MIRROR]. Needs debootstrap and buildah, and
# has to run as root.
set -eu
name=$1 mirror=${2:-http://deb.debian.org/debian}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates,libgcc-s1 bookworm "$root" "$mirror"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/man
container=$(buildah from scratch)
buildah add --quiet "$container" "$root" /
buildah commit --quiet --rm "$container" "$name"

#!/usr/bin/env bash
# Does what the Dockerfile does, without a container engine: builds the static program, puts the image together
# and, as root, runs it there as the image's user. Takes as long as a release build.
set -euo pipefail
cd "$(dirname "$0")/.."

build=target/container
image=$(mktemp -d)
gateway=
trap 'kill $gateway 2>/dev/null || true; rm -rf "$image"' EXIT

# The steps of the first stage, as written.
export RUSTFLAGS
RUSTFLAGS=$(sed -n 's/^ENV RUSTFLAGS="\(.*\)"$/\1/p' Dockerfile)
sed -n 's/^RUN //p' Dockerfile | while read -r step; do
    step=${step//\/build/"$build"}
    step=${step//\/image/"$image"}
    printf '== %s\n' "$step"
    bash -euc "$step"
done

echo "== the program is static"
# `ldd` fails on a static program that is not position-independent, and says `statically linked` of one that is.
linked=$(ldd "$image/sluicegate" 2>&1 || true)
printf '%s\n' "$linked"
[[ $linked == *"statically linked"* || $linked == *"not a dynamic executable"* ]]

if [[ $(id -u) != 0 ]]; then
    echo "== not root: not run in the empty image"
    exit 0
fi
echo "== it runs in the image as the image's user"
# A container engine gives these two to every container.
cp /etc/resolv.conf "$image/etc/resolv.conf"
mkdir "$image/dev"
mknod -m 0444 "$image/dev/random" c 1 8
mknod -m 0444 "$image/dev/urandom" c 1 9
user=$(sed -n 's/^USER //p' Dockerfile)
inside=(env -i SLUICEGATE_POLICY=/etc/sluicegate/policies SLUICEGATE_LISTEN=127.0.0.1:0 SLUICEGATE_ADMIN=127.0.0.1:19901
    "$(command -v chroot)" --userspec="$user" "$image" /sluicegate)
chmod 0755 "$image"
"${inside[@]}" run > "$image/out" 2> "$image/log" &
gateway=$!
until "${inside[@]}" health --ready 2>/dev/null; do
    kill -0 $gateway 2>/dev/null || { cat "$image/log"; exit 1; }
    sleep 0.1
done
"${inside[@]}" health
kill $gateway
wait $gateway
gateway=
tail -n 1 "$image/log"

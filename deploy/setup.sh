#!/usr/bin/env bash
# Installs what the build needs and this machine lacks: a C++ compiler and libclang, for RocksDB and its bindings,
# python3-venv for the example journal, iproute2 and iptables for the networks of the consistency tests, and nats-server for the
# relay's. Says plainly what is missing if it may not install.
set -euo pipefail

missing=()
command -v c++ >/dev/null || missing+=(g++)
# libclang-cpp.so, which other packages bring along, is another library: bindings need libclang.so or libclang-14.so.1.
libraries=$(ldconfig -p 2>/dev/null; ls -d /usr/lib/llvm-*/lib/* 2>/dev/null) || true
grep -qE 'libclang(-[0-9.]+)?\.so' <<<"$libraries" || missing+=(libclang-dev)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
# Administrators' programs are not on everybody's path.
PATH=$PATH:/usr/sbin:/sbin
command -v ip >/dev/null || missing+=(iproute2)
command -v iptables-restore >/dev/null || missing+=(iptables)
command -v nsenter >/dev/null || missing+=(util-linux)
command -v nats-server >/dev/null || missing+=(nats-server)

if ! command -v cargo >/dev/null; then
    echo "setup: cargo is not installed; a Rust toolchain is needed first: https://rustup.rs" >&2
    exit 1
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ]; then
    install=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    install=(sudo)
else
    echo "setup: missing: ${missing[*]}; may not install them. As root: apt-get install ${missing[*]}" >&2
    exit 1
fi
command -v apt-get >/dev/null || { echo "setup: missing: ${missing[*]}; no apt-get here, install them by hand" >&2; exit 1; }
echo "setup: installing ${missing[*]}" >&2
"${install[@]}" apt-get update -qq >&2
DEBIAN_FRONTEND=noninteractive "${install[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
# Debian starts this one at once, for everybody to reach; tests start their own, on loopback.
if [[ " ${missing[*]} " == *" nats-server "* ]] && [ -d /run/systemd/system ]; then
    "${install[@]}" systemctl --quiet disable --now nats-server >&2
fi

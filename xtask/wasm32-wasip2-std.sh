#!/usr/bin/env bash
# Makes a Rust toolchain for wasm32-wasip2 from Debian's packages, for machines where rustup cannot reach its server.
#
#   wasm32-wasip2-std.sh PREFIX      then: RUSTC=PREFIX/rustc cargo build --target wasm32-wasip2
#
# Everything lands in PREFIX; nothing is installed. It downloads about 140 MB and takes two to four minutes, once.
#
# How: Debian keeps a current rustc for its browsers (rustc-web) with matching library sources (rust-web-src). std is
# built from those with -Zbuild-std and put into that compiler's own sysroot, after which handlers build with stable
# cargo as on any machine. The linkers are those of the installed rustup toolchain, which ships them for every target.
set -euo pipefail

target=wasm32-wasip2
prefix=$(realpath -m "$1")
work=$prefix.partial
handlers=$(dirname "$(realpath "$0")")/../plugins
root=$work/root
# Root's downloads pass through a user of apt's own, who may not write here; apt would warn of that each time.
unboxed=(-oAPT::Sandbox::User=root)

say() { echo "wasm32-wasip2: $*" >&2; }
fail() { say "$*"; exit 1; }

main() {
  mkdir -p "$(dirname "$prefix")"
  # One builder at a time; whoever waited finds the work done.
  exec 9>"$prefix.lock"
  flock 9
  [ ! -e "$prefix" ] || return 0

  # Only a finished toolchain gets the name PREFIX, so an interrupted run leaves nothing that could be taken for one.
  rm -rf "$work"
  mkdir -p "$root" "$work/deb"
  linkers=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
  [ -x "$linkers/wasm-component-ld" ] || fail "no wasm-component-ld in $linkers: install Rust with rustup"

  refresh_package_lists
  unpack_compiler
  unpack_libc
  build_std
  rm -rf "$work/deb" "$work/apt" "$work/seed" "$root/usr/src"
  mv -T "$work" "$prefix"
  say "ready in $prefix"
}

# A fresh container has no package lists at all, or lists from when its image was made, with a compiler too old for the
# handlers.
refresh_package_lists() {
  local needed
  needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$handlers/Cargo.toml")
  offered "$needed" && return 0
  say "fetching package lists"
  if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo -n apt-get update -qq; fi
  offered "$needed" || fail "apt offers no rustc-web of $needed or newer: use Debian, or run rustup target add $target"
}

offered() {
  local version
  version=$(candidate rustc-web)
  [ -n "$version" ] && dpkg --compare-versions "$version" ge "$1"
}

candidate() { apt-cache policy "$1" | sed -n 's/^ *Candidate: //p' | grep -v '(none)' || true; }

# The first package that PACKAGE depends on and that PATTERN matches: their names carry versions.
dependency() { apt-cache depends "$1" | awk -v pattern="^$2" '$1 == "Depends:" && $2 ~ pattern { print $2; exit }'; }

unpack_compiler() {
  say "fetching the compiler"
  local std llvm
  std=$(dependency libstd-rust-web-dev 'libstd-rust-web-[0-9]')
  llvm=$(dependency "$std" 'libllvm[0-9]')
  cd "$work/deb"
  apt-get "${unboxed[@]}" download -qq rustc-web libstd-rust-web-dev rust-web-src "$std" "$llvm"
  for deb in rustc-web_* libstd-rust-web-* libllvm*; do dpkg -x "$deb" "$root"; done
  dpkg-deb --fsys-tarfile rust-web-src_* |
    tar -x -C "$root" --wildcards './usr/src/*/library/*' './usr/lib/rustlib/src/rust'

  # Its libraries are not where the loader looks, so it is started through this. It finds itself by its own place,
  # because the folder is renamed when it is done.
  cat > "$work/rustc" <<'WRAPPER'
#!/bin/sh
root=$(dirname "$(realpath "$0")")/root
LD_LIBRARY_PATH=$(echo "$root"/usr/lib/*-linux-gnu) exec "$root/usr/bin/rustc" "$@"
WRAPPER
  chmod +x "$work/rustc"

  # rustc looks for linkers in this folder of its sysroot.
  ln -s "$linkers" "$root/usr/lib/rustlib/$(basename "$(dirname "$linkers")")/bin"
}

# The C library that std links. Debian 12's is too old for wasip2, so it comes from Debian 13, by package lists of
# our own that leave the system's alone.
unpack_libc() {
  say "fetching the C library"
  local apt=$work/apt mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  printf '%s\n' 'Types: deb' "URIs: $mirror" 'Suites: trixie' 'Components: main' \
    'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' > "$apt/trixie.sources"
  local options=(-oDir::Etc::sourcelist="$apt/trixie.sources" -oDir::Etc::sourceparts=- -oDir::State::status=/dev/null
    -oDir::State::Lists="$apt/lists" -oDir::Cache="$apt/cache" -oAcquire::Languages=none)
  apt-get "${options[@]}" update -qq
  cd "$work/deb"
  apt-get "${options[@]}" "${unboxed[@]}" download -qq wasi-libc
  dpkg -x wasi-libc_* "$work/deb/wasi-libc"
  self_contained=$root/usr/lib/rustlib/$target/lib/self-contained
  mkdir -p "$self_contained"
  cp "$work/deb/wasi-libc/usr/lib/$target"/{crt1-command.o,crt1-reactor.o,libc.a} "$self_contained"
}

# Building an empty crate builds std beside it; stable cargo does that only when told to pass for a nightly.
build_std() {
  say "building std"
  local seed=$work/seed
  mkdir -p "$seed/src"
  : > "$seed/src/lib.rs"
  printf '%s\n' '[package]' 'name = "seed"' 'edition = "2024"' '[workspace]' '[profile.release]' 'panic = "abort"' \
    > "$seed/Cargo.toml"
  cd "$seed"
  # cargo works in a folder of its own here: the flags that callers set for their own build must not reach it.
  env -u CARGO_TARGET_DIR -u CARGO_BUILD_TARGET -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u RUSTC_WRAPPER \
    RUSTC="$work/rustc" RUSTC_BOOTSTRAP=1 \
    CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS="-L native=$self_contained -Clink-self-contained=yes -Cembed-bitcode=yes" \
    cargo build --quiet --release --target "$target" -Zbuild-std=std,panic_abort
  for rlib in target/"$target"/release/deps/*.rlib; do
    case $rlib in */libseed-*) ;; *) cp "$rlib" "$root/usr/lib/rustlib/$target/lib" ;; esac
  done
}

main

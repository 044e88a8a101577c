#!/usr/bin/env bash
# The judges of the contract that are not Python: buf lint, and buf breaking against proto/baseline.binpb.
#
#   proto/judge.sh             judge; exit 1 at the first complaint
#   proto/judge.sh --accept    make the present contract the baseline (see README.md: when that is right)
#
# buf comes from npm into .tools/, at a fixed version. Compared are two images: given the workspace itself on one side,
# `buf breaking` of this version finds nothing at all. So that such silence is noticed, each judge is first shown a
# spoiled copy, which it must refuse.
set -euo pipefail
cd "$(dirname "$0")/.."

BUF_VERSION=1.75.0
BASELINE=proto/baseline.binpb
tools=$PWD/.tools/buf
python=$PWD/.venv/bin/python

say() { printf 'buf: %s\n' "$*"; }
fail() {
  printf 'buf: %s\n' "$*" >&2
  exit 1
}

buf() { "$tools/node_modules/.bin/buf" "$@"; }

install_buf() {
  [[ $(buf --version 2>/dev/null) = "$BUF_VERSION" ]] && return
  command -v npm >/dev/null || fail "npm is missing; it brings buf (Debian: apt-get install npm)"
  mkdir -p "$tools"
  npm install --prefix "$tools" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error \
    "@bufbuild/buf@$BUF_VERSION"
  [[ $(buf --version) = "$BUF_VERSION" ]] || fail "npm did not bring buf $BUF_VERSION"
}

# image FOLDER OUT: the public package with what it imports, without comments.
image() { (cd "$1" && buf build --path batchyard/v1 --exclude-source-info -o "$2"); }

breaking() { buf breaking "$1" --against "$BASELINE" --exclude-imports --config proto/buf.yaml; }

# ours IMAGE OUT: without the imports, which change with the wheel that they come from.
ours() { buf build "$1" --exclude-imports -o "$2"; }

# refused NAME PATTERN COMMAND…: the command must fail, and say why.
refused() {
  local name=$1 pattern=$2 output
  shift 2
  if output=$("$@" 2>&1); then
    fail "$name accepts a spoiled copy of the contract; it judges nothing"
  fi
  grep -q "$pattern" <<<"$output" || fail "$name fails for another reason than the spoiled line: $output"
}

install_buf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" proto/generate.py --stage proto/.googleapis
image proto "$work/now.binpb"

if [[ ${1-} = --accept ]]; then
  cp "$work/now.binpb" "$BASELINE"
  say "$BASELINE is the present contract now"
  exit 0
fi

cp -r proto "$work/spoiled"
spoil="$work/spoiled/batchyard/v1/batch_task.proto"
sed -i '/^  string display_name = 3/d' "$spoil" # a field deleted; its comment falls to the next one
image "$work/spoiled" "$work/spoiled.binpb"
refused "buf breaking" 'field "3".*display_name' breaking "$work/spoiled.binpb"
sed -i '/^  \/\/ Free text/,/^  string handler/{/^  \/\//d}' "$spoil" # and both comments
refused "buf lint" 'non-empty comment' buf lint "$work/spoiled"

buf lint proto
breaking "$work/now.binpb"
ours "$work/now.binpb" "$work/ours-now.binpb"
ours "$BASELINE" "$work/ours-baseline.binpb"
cmp -s "$work/ours-now.binpb" "$work/ours-baseline.binpb" ||
  fail "the contract has grown beyond $BASELINE, which does not protect the new part yet; run: make baseline"
say "lint and breaking: nothing to complain about; both refused the spoiled copy"

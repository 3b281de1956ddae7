#!/bin/bash
# Runs a command in a bare Debian of a release, with this checkout cloned into it: what its user sees who has installed
# nothing yet. Without a command: the README's two, `make demo` and `make test`.
#
# usage: tests/bare.sh SUITE [COMMAND]     as root; tests/bare.sh trixie 'make test ARGS=tests/unit'
#
# The root file system (minbase, python3, git, make, ca-certificates) is made once, by mmdebstrap, and kept below .cache;
# each run has a copy, which is removed at the end. The command is the second process of its own PID, mount and IPC
# namespaces, its root entered with pivot_root: in a chroot the kernel refuses user namespaces, and `unshare` and
# systemd-nspawn fail. Kernel, /sys, devices and network are the machine's, and so are the ways to the network: apt's
# mirror and its Acquire settings, pip's configuration, proxies, certificates. Commit first: what is not is left out.
set -euo pipefail

die() { printf 'bare: %s\n' "$*" >&2; exit 2; }
say() { printf 'bare: %s\n' "$*" >&2; }

packages=python3,git,make,ca-certificates
checkout=/root/ndpresponder # inside
passed_on='^(PIP_.*|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE|GIT_SSL_CAINFO|NDPRESPONDER_REQUIRE_ALL|TERM|(https?|no|all|HTTPS?|NO|ALL)_(proxy|PROXY))$'

# In the new namespaces: make the root ours, and run the command there.
enter() {
  local root=$1 command=$2 place variable
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
  mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mkdir -m 1777 "$root/run/lock"
  local environment=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
  for variable in $(compgen -e); do
    [[ $variable =~ $passed_on ]] || continue
    environment+=("$variable=${!variable}")
    place=${!variable}
    # what pip is told to look into, and does not exist inside
    if [[ $variable == PIP_* && $place == /* && -e $place && ! -e $root$place ]]; then
      if [[ -d $place ]]; then mkdir -p "$root$place"; else mkdir -p "$root${place%/*}" && touch "$root$place"; fi
      mount --bind -o ro "$place" "$root$place"
    fi
  done
  cd "$root"
  pivot_root . .
  umount --lazy . # the machine's own root, which lies over the new one now
  cd "$checkout"
  # not exec: whoever is process 1 has to collect what is orphaned, which a shell does
  env --ignore-environment --default-signal=INT,QUIT "${environment[@]}" sh -c "$command"
}

if [[ ${1:-} == --enter ]]; then
  enter "$2" "$3"
  exit
fi

(($# == 1 || $# == 2)) && [[ $1 =~ ^[a-z]+$ ]] || die "usage: tests/bare.sh SUITE [COMMAND]     for example: tests/bare.sh trixie"
suite=$1 command=${2:-make demo && make test}
((EUID == 0)) || die "namespaces are root's to make: sudo tests/bare.sh $suite"
for needed in mmdebstrap unshare pivot_root git; do
  command -v $needed >/dev/null || die "the command $needed is needed: apt-get install mmdebstrap util-linux git"
done
source=$(cd "$(dirname "$0")/.." && pwd)
cache=${NDPRESPONDER_CACHE:-$source/.cache}
mkdir -p "$cache"
[[ -z $(git -C "$source" status --porcelain) ]] || say "what is not committed is left out"

work=$(mktemp -d "$cache/bare-$suite.XXXXXX")
inside=
finish() {
  [[ -z $inside ]] || { kill -KILL "$inside" && wait "$inside"; } 2>/dev/null || : # and with it, by --kill-child, all that it started
  rm -rf --one-file-system "$work"
}
trap finish EXIT
# The terminal has told the command as well: let it tidy up
interrupted() {
  local tenths
  for ((tenths = 0; tenths < 100; tenths++)); do
    [[ -n $inside ]] && kill -0 "$inside" 2>/dev/null || break
    sleep 0.1
  done
  exit 130
}
trap interrupted INT
trap 'exit 143' TERM HUP

# Another distribution's mirrors have no Debian: mmdebstrap knows where to look then.
own=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
apt-get indextargets --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' 'Origin: Debian' |
  sed -En "s/ $own(-updates|-security)? / $suite\1 /p" | sort -u >"$work/sources"
apt-config dump Acquire | grep -v IndexTargets >"$work/acquire"
key=$(cat "$work/sources" "$work/acquire" - <<<"$packages" | cksum)
pristine=$cache/bare-$suite-${key%% *}
exec 9>"$pristine.lock"
flock 9
if [[ ! -d $pristine ]]; then
  say "mmdebstrap $suite -> ${pristine#"$source"/}"
  rm -rf --one-file-system "$pristine.building"
  mirrors=()
  [[ ! -s $work/sources ]] || mirrors=("$work/sources")
  mmdebstrap --quiet --variant=minbase --include="$packages" --aptopt="$work/acquire" "$suite" "$pristine.building" \
    "${mirrors[@]}"
  mv "$pristine.building" "$pristine"
fi
flock -u 9
exec 9>&-

root=$work/root
cp --archive --reflink=auto "$pristine" "$root"
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
  [[ ! -e $file ]] || cp --dereference --remove-destination "$file" "$root$file"
done
for file in /etc/pip.conf ~/.config/pip/pip.conf ~/.pip/pip.conf /usr/local/share/ca-certificates; do
  [[ ! -e $file ]] || { mkdir -p "$root${file%/*}" && cp --recursive --dereference --no-target-directory "$file" "$root${file/#"$HOME"//root}"; }
done
git clone --quiet "file://$source" "$root$checkout"

say "$suite: $command"
{ # read as a whole: this file may change before the command ends
  unshare --mount --pid --ipc --fork --kill-child "$0" --enter "$root" "$command" <&0 &
  inside=$!
  status=0
  wait "$inside" || status=$?
  inside=
  exit "$status"
}

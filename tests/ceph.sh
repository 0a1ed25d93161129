#!/bin/sh
# A real Ceph object store (radosgw on one monitor and one OSD) for tests. It listens on loopback only and keeps
# everything in DIR.
#
#   ceph.sh start DIR [PORT]   start on an empty folder, wait until it answers, print the endpoint
#   ceph.sh stop DIR           stop, and wait until its processes are gone
#
# Needs Debian's radosgw, ceph-mon and ceph-osd, and runs as root or anybody. Two identities, as of object-store.sh:
# testkey/testsecret, and readerkey/readersecret, who sees only what a bucket's policy lets them.
set -eu

usage() { sed -n '5,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
action=$1 dir=$2 ports=$(dirname "$0")/../infra/dev/free-ports.py

# An OSD that moves itself in the CRUSH map gets no weight, and all pools hang: it is put there by hand. Without
# authentication radosgw does not start.
configure() {
    cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = $dir/keyring
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd pool default pg num = 8
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd crush update on start = false
osd objectstore = bluestore
bluestore block size = 4294967296
osd memory target = 939524096
run dir = $dir/run
admin socket = $dir/run/\$name.asok
log file = $dir/\$name.log
pid file = $dir/\$name.pid
setuser match path =
[mon]
mon data = $dir/mon
mon data avail crit = 1
mon data avail warn = 1
[osd]
osd data = $dir/osd
ms bind ipv6 = false
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw data = $dir/rgw
rgw enable usage log = false
rgw dynamic resharding = false
rgw thread pool size = 64
CONF
}

user() { radosgw-admin -n client.rgw user create --uid="$1" --display-name="$1" --access-key="$2" --secret-key="$3"; }

answers() {
    python3 -c '
import http.client, sys
try:
    server = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=2)
    server.request("GET", "/")
    server.getresponse()
except (OSError, http.client.HTTPException):
    sys.exit(1)
' "$port"
}

launch() {
    monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]" "$dir/monmap"
    ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *'
    ceph-authtool "$dir/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
    ceph-authtool "$dir/keyring" --gen-key -n client.rgw --cap mon 'allow rwx' --cap osd 'allow rwx'
    ceph-authtool "$dir/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
    ceph-mon --mkfs -i a --monmap "$dir/monmap" --mon-data "$dir/mon" --keyring "$dir/keyring"
    ceph-mon -i a --mon-data "$dir/mon" --public-addr "127.0.0.1:$((port + 1))"
    osd=$(cat /proc/sys/kernel/random/uuid)
    ceph osd new "$osd"
    ceph-osd -i 0 --mkfs --osd-uuid "$osd"
    ceph osd crush add osd.0 1.0 host=h root=default
    ceph-osd -i 0
    radosgw -n client.rgw --log-file "$dir/rgw.log"
    user test "${S3_KEY:-testkey}" "${S3_SECRET:-testsecret}"
    user reader readerkey readersecret
    ticks=0
    until answers; do
        ticks=$((ticks + 1))
        [ "$ticks" -lt 450 ] || { echo "ceph.sh: it does not answer"; return 1; }
        sleep 0.2
    done
}

start() {
    mkdir -p "$dir/mon" "$dir/osd" "$dir/rgw" "$dir/run"
    dir=$(cd "$dir" && pwd)
    export CEPH_CONF="$dir/ceph.conf"
    port=${1:-$(python3 "$ports" 3)}
    fsid=$(cat /proc/sys/kernel/random/uuid)
    configure
    trap 'tail -n 20 "$dir/log" >&2; finish' EXIT
    launch >"$dir/log" 2>&1
    trap - EXIT
    echo "http://127.0.0.1:$port" | tee "$dir/endpoint"
}

# Only processes that were started with this folder's configuration: a number may belong to another program by now.
is_ours() { cat "/proc/$1/environ" 2>/dev/null | tr '\0' '\n' | grep -qx "CEPH_CONF=$dir/ceph.conf"; }

finish() {
    for file in "$dir"/*.pid; do
        [ -s "$file" ] || continue
        pid=$(cat "$file") ticks=0
        if is_ours "$pid"; then
            kill "$pid" 2>/dev/null || true
            while [ -d "/proc/$pid" ] && [ "$ticks" -lt 200 ]; do
                [ "$ticks" -ne 100 ] || kill -9 "$pid" 2>/dev/null || true
                ticks=$((ticks + 1))
                sleep 0.1
            done
        fi
        rm -f "$file"
    done
}

case $action in
start) start ${3:+"$3"} ;;
stop) dir=$(cd "$dir" && pwd); finish ;;
*) usage ;;
esac

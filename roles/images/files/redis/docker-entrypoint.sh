#!/bin/sh
# Starts Redis; arguments are those of the official image (https://hub.docker.com/_/redis): flags, or a file with flags.
set -eu

case ${1-} in -* | *.conf) set -- redis-server "$@" ;; esac
[ "${1-}" = redis-server ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis '{}' +
    exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
fi

# As in the official image: a container's network decides who reaches it. What the file or a flag says goes first.
protected=no
case " $* " in *' --protected-mode '*) protected= ;; esac
case ${2-} in *.conf) ! grep -qs '^[[:space:]]*protected-mode' "$2" || protected= ;; esac
umask 0077
exec "$@" ${protected:+--protected-mode "$protected"}

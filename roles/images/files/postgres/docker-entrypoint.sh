#!/usr/bin/env bash
# Starts PostgreSQL; makes its cluster first where there is none. The variables, paths and the folder for scripts are
# those of the official image (https://hub.docker.com/_/postgres).
set -Eeuo pipefail
shopt -s nullglob

# Present from the first step of the initialisation to its last: a start that finds it begins again.
marker=$PGDATA/.initialising

fail() { printf 'postgres: %s\n' "$*" >&2; exit 1; }
say() { printf 'postgres: %s\n' "$*" >&2; }

# setting NAME [DEFAULT]: the value of NAME, or the content of the file that NAME_FILE names
setting() {
    local file=${1}_FILE
    [[ -z ${!1-} || -z ${!file-} ]] || fail "both $1 and $file are set; use one of them"
    if [[ -n ${!file-} ]]; then
        [[ -r ${!file} ]] || fail "$file names ${!file}, which uid $(id -u) cannot read"
        printf '%s' "$(<"${!file}")"
    else
        printf '%s' "${!1:-${2-}}"
    fi
}

make_cluster() {
    # initdb wants an empty directory, and the volume's own is where the marker lies.
    local staging=$PGDATA/.staging
    local arguments=(--pgdata="$staging" --username="$user" --auth-local=trust --auth-host=scram-sha-256 --no-sync)
    [[ -z $password ]] || arguments+=(--pwfile=/dev/fd/9)
    [[ -z ${POSTGRES_INITDB_WALDIR-} ]] || arguments+=(--waldir="$POSTGRES_INITDB_WALDIR")
    # Quoted words, as in the official image.
    eval "arguments+=($initdb_args)"
    # On success it only tells how to start the server, which comes next.
    initdb "${arguments[@]}" 9<<<"$password" >/dev/null
    mv "$staging"/* "$PGDATA"
    rmdir "$staging"
    printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
}

# Single-user mode needs no server to come up and go down again.
make_database() {
    [[ $database != postgres ]] || return 0
    printf 'CREATE DATABASE "%s"\n' "${database//\"/\"\"}" | postgres --single -j -F -D "$PGDATA" postgres >/dev/null
}

sql() { psql --set ON_ERROR_STOP=1 --no-psqlrc --username "$user" --no-password --dbname "$database" "$@"; }

run_scripts() {
    local file scripts=(/docker-entrypoint-initdb.d/*)
    ((${#scripts[@]})) || return 0
    # On the unix socket alone: nobody outside takes a server that initialises for one that is ready.
    PGUSER=$user pg_ctl --pgdata="$PGDATA" --wait start -o "$(printf '%q ' "$@" -c listen_addresses='' -p "${PGPORT:-5432}")"
    for file in "${scripts[@]}"; do
        case $file in
            *.sh)
                say "runs $file"
                # shellcheck disable=SC1090
                if [[ -x $file ]]; then "$file"; else . "$file"; fi ;;
            *.sql) say "runs $file"; sql --file "$file" ;;
            *.sql.gz) say "runs $file"; gunzip --stdout "$file" | sql ;;
            *.sql.xz) say "runs $file"; xz --decompress --stdout "$file" | sql ;;
            *.sql.zst) say "runs $file"; zstd --decompress --stdout "$file" | sql ;;
            *) say "ignores $file" ;;
        esac
    done
    PGUSER=$user pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
}

initialise() {
    local user password database method initdb_args
    user=$(setting POSTGRES_USER postgres)
    password=$(setting POSTGRES_PASSWORD)
    database=$(setting POSTGRES_DB "$user")
    initdb_args=$(setting POSTGRES_INITDB_ARGS)
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    [[ -n $password || $method == trust ]] ||
        fail 'a new cluster needs a password: set POSTGRES_PASSWORD_FILE (or POSTGRES_PASSWORD)'
    # For the scripts in /docker-entrypoint-initdb.d; the server's own environment does not get them.
    local -x POSTGRES_USER=$user POSTGRES_PASSWORD=$password POSTGRES_DB=$database PGPASSWORD=${PGPASSWORD-$password}

    if [[ -e $marker ]]; then
        say 'an initialisation was cut off; it begins again'
        find "$PGDATA" -mindepth 1 ! -path "$marker" -delete
        [[ -z ${POSTGRES_INITDB_WALDIR-} ]] || find "$POSTGRES_INITDB_WALDIR" -mindepth 1 -delete
    elif [[ -n $(find "$PGDATA" -mindepth 1 ! -name lost+found -print -quit) ]]; then
        fail "$PGDATA holds files but no cluster (no PG_VERSION): empty it, or mount the right volume"
    fi
    : > "$marker"
    say "makes a cluster in $PGDATA"
    make_cluster
    make_database
    run_scripts "$@"
    sync
    rm "$marker"
    sync --file-system "$PGDATA"
}

[[ ${1-} != -* ]] || set -- postgres "$@"
[[ ${1-} == postgres ]] || exec "$@"
for argument; do
    case $argument in --help | -\? | --version | -V | --describe-config | -C) exec "$@" ;; esac
done

if (($(id -u) == 0)); then
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA"
    find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
    find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    exec setpriv --reuid=postgres --regid=postgres --init-groups "${BASH_SOURCE[0]}" "$@"
fi
mkdir -p "$PGDATA"
chmod 0700 "$PGDATA" 2>/dev/null || :
[[ -s $PGDATA/PG_VERSION && ! -e $marker ]] || initialise "${@:2}"
exec "$@"

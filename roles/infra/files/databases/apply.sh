# shellcheck shell=sh
# Brings logins, databases and grants to what is wanted; what it changes it says, a line each. A run gives it to `sh -s` in the container of
# PostgreSQL, followed by calls of the functions below, so that passwords come by the standard input alone. It needs psql and a
# shell, as every image of PostgreSQL has them.
set -eu
# The superuser's, where the cluster wants one on its socket too.
PGPASSWORD=$(cat /run/secrets/postgres_password)
export PGPASSWORD
# Where pg_hba.conf wants a password: for the socket and loopback initdb of the official image says "trust".
address=$(hostname -i | cut -d ' ' -f 1)

# sql DATABASE [VARIABLE=VALUE...]: what the statements on the standard input answer. Passwords are read from the environment, because arguments are seen.
sql() {
    database=$1
    shift
    for variable; do
        set -- "$@" --set "$variable"
        shift
    done
    psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --username postgres --dbname "$database" "$@"
}

# login NAME PASSWORD: a role that may log in and nothing beside.
login() {
    rights=$(sql postgres name="$1" <<'SQL'
SELECT rolcanlogin AND NOT (rolsuper OR rolcreatedb OR rolcreaterole) FROM pg_roles WHERE rolname = :'name';
SQL
    )
    case $rights in
        t) ;;
        f) echo 'ALTER ROLE :"name" NOSUPERUSER NOCREATEDB NOCREATEROLE LOGIN;' | sql postgres name="$1"; echo "role $1: rights" ;;
        *) echo 'CREATE ROLE :"name" NOSUPERUSER NOCREATEDB NOCREATEROLE LOGIN;' | sql postgres name="$1"; echo "role $1: created" ;;
    esac
    if ! PGPASSWORD=$2 psql --no-psqlrc --host "$address" --username "$1" --dbname postgres --command '' >/dev/null 2>&1; then
        MLOPS_PASSWORD=$2 sql postgres name="$1" <<'SQL'
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\set password `printenv MLOPS_PASSWORD`
ALTER ROLE :"name" PASSWORD :'password';
SQL
        echo "role $1: password"
    fi
}

# database NAME OWNER: in UTF-8, for its owner alone.
database() {
    owner=$(sql postgres name="$1" <<'SQL'
SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = :'name';
SQL
    )
    if [ -z "$owner" ]; then
        echo "CREATE DATABASE :\"name\" OWNER :\"owner\" ENCODING 'UTF8';" | sql postgres name="$1" owner="$2"
        echo "database $1: created"
    elif [ "$owner" != "$2" ]; then
        echo 'ALTER DATABASE :"name" OWNER TO :"owner";' | sql postgres name="$1" owner="$2"
        echo "database $1: owner"
    fi
    open=$(sql postgres name="$1" <<'SQL'
SELECT count(*) FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS may WHERE datname = :'name' AND may.grantee = 0;
SQL
    )
    if [ "$open" != 0 ]; then
        echo 'REVOKE ALL ON DATABASE :"name" FROM PUBLIC;' | sql postgres name="$1"
        echo "database $1: closed to others"
    fi
}

# grant DATABASE QUERY: runs the statements that a query gives.
grant() {
    missing=$(printf '%s\n' "$2" | sql "$1")
    if [ -n "$missing" ]; then
        printf '%s\n' "$missing" | sql "$1"
        printf '%s\n' "$missing"
    fi
}
